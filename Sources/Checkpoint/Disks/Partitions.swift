import Glibc

import struct DeviceMapper.DeviceNumber

extension DeviceNumber {
  /// The device itself, and those that share blocks with it: a disk's partitions, or the disk of a partition. A backend that serves one of
  /// them claims neither, so that the other one can be claimed meanwhile.
  ///
  /// - Parameter sysfs: folder of links by number (Documentation/ABI/stable/sysfs-dev).
  func sharing(sysfs: String = "/sys/dev/block") -> [DeviceNumber] {
    let folder = "\(sysfs)/\(self)"
    let disk = Sysfs.isPartition(folder) ? ["\(folder)/.."] : []
    let partitions = Sysfs.names(in: folder).map { "\(folder)/\($0)" }.filter(Sysfs.isPartition)
    return [self] + (disk + partitions).compactMap { Sysfs.line(of: "\($0)/dev").flatMap { DeviceNumber($0) } }
  }
}

private enum Sysfs {
  static func isPartition(_ folder: String) -> Bool { access("\(folder)/partition", F_OK) == 0 }

  static func names(in folder: String) -> [String] {
    guard let stream = opendir(folder) else { return [] }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      if name != ".", name != ".." { names.append(name) }
    }
    return names
  }

  static func line(of file: String) -> Substring? {
    guard let stream = fopen(file, "re") else { return nil }
    defer { fclose(stream) }
    var buffer = [CChar](repeating: 0, count: 64)
    guard fgets(&buffer, Int32(buffer.count), stream) != nil else { return nil }
    return String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init), as: UTF8.self).split(separator: "\n").first
  }
}
