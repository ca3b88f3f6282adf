import Foundation
import Testing

import struct DeviceMapper.DeviceNumber

@testable import Checkpoint

@Suite("Devices that share blocks")
struct PartitionsTests {
  @Test("are a disk and its partitions, seen from either side; another disk's are not")
  func sharing() throws {
    let folder = FileManager.default.temporaryDirectory.path + "/ckpt-sysfs-\(UInt64.random(in: 0...UInt64.max))"
    defer { try? FileManager.default.removeItem(atPath: folder) }
    for (path, number) in [
      ("sda", "8:0"), ("sda/sda1", "8:1"), ("sda/sda2", "8:2"), ("sda/queue", ""), ("sdb", "8:16"),
    ] {
      let device = "\(folder)/block/\(path)"
      try FileManager.default.createDirectory(atPath: device, withIntermediateDirectories: true)
      guard !number.isEmpty else { continue }
      try "\(number)\n".write(toFile: device + "/dev", atomically: false, encoding: .utf8)
      if path.contains("/") { try "1\n".write(toFile: device + "/partition", atomically: false, encoding: .utf8) }
      try FileManager.default.createDirectory(atPath: folder + "/dev", withIntermediateDirectories: true)
      try FileManager.default.createSymbolicLink(atPath: "\(folder)/dev/\(number)", withDestinationPath: device)
    }
    func sharing(_ minor: UInt32) -> Set<UInt32> {
      Set(DeviceNumber(major: 8, minor: minor).sharing(sysfs: folder + "/dev").map(\.minor))
    }
    #expect(sharing(0) == [0, 1, 2] && sharing(1) == [0, 1] && sharing(2) == [0, 2] && sharing(16) == [16])
    #expect(sharing(99) == [99])
  }
}
