import DeviceMapper
import Foundation
import Testing

@testable import Checkpoint

@Suite("A device of a pool is remembered by a name that stays")
struct StableNameTests {
  /// A folder of links, and nodes that exist nowhere.
  private final class Links {
    let folder = FileManager.default.temporaryDirectory.path + "/ckpt-links-\(UInt64.random(in: 0...UInt64.max))"
    private let numbers = ["/dev/sdb": 16, "/dev/sdb1": 17, "/dev/sdc": 32, "/dev/nvme0n1": 48, "/dev/loop7": 64]

    init(_ links: KeyValuePairs<String, String>) throws {
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
      for (name, node) in links {
        try FileManager.default.createSymbolicLink(atPath: "\(folder)/\(name)", withDestinationPath: node)
      }
    }
    deinit { try? FileManager.default.removeItem(atPath: folder) }

    private func node(_ path: String) -> String {
      (try? FileManager.default.destinationOfSymbolicLink(atPath: path)) ?? path
    }

    /// What is stored for a path; a link of the folder without the folder.
    func name(of path: String) throws -> String {
      let stable = StableName(
        links: folder, node: { self.node($0) },
        number: { self.numbers[self.node($0)].map { DeviceNumber(major: 8, minor: UInt32($0)) } })
      return try stable.of(path).replacing("\(folder)/", with: "")
    }
  }

  @Test("of its own where it has one, else the first")
  func chosen() throws {
    let links = try Links([
      "ata-Disk_1": "/dev/sdb", "scsi-Disk_1": "/dev/sdb", "wwn-0x5000": "/dev/sdb", "wwn-0x5000-part1": "/dev/sdb1",
      "usb-Z": "/dev/sdc", "scsi-A": "/dev/sdc", "lvm-pv-uuid-a": "/dev/sdc", "md-uuid-a": "/dev/sdc",
      "dm-name-a": "/dev/sdc", "nvme-Disk_2": "/dev/nvme0n1", "nvme-eui.01": "/dev/nvme0n1",
    ])
    #expect(try links.name(of: "/dev/sdb") == "wwn-0x5000")
    #expect(try links.name(of: "/dev/sdb1") == "wwn-0x5000-part1")
    #expect(try links.name(of: "/dev/sdc") == "scsi-A")
    #expect(try links.name(of: "/dev/nvme0n1") == "nvme-eui.01")
    // What somebody chose among them stays.
    #expect(try links.name(of: "\(links.folder)/ata-Disk_1") == "ata-Disk_1")
  }

  @Test("or as it was typed, where there is none and where the name stays anyway")
  func kept() throws {
    let links = try Links(["lvm-pv-uuid-a": "/dev/sdb", "loop-a": "/dev/loop7"])
    for path in ["/dev/sdb", "/dev/sdc", "/dev/loop7", "/dev/vg0/ckpt-main-data", "/dev/mapper/x"] {
      #expect(try links.name(of: path) == path)
    }
    #expect(try StableName(links: "/nowhere").of("/dev/sdb") == "/dev/sdb")
  }

  @Test(
    "whichever of the kernel's names it has now",
    arguments: ["sda", "sdaa12", "vdb1", "xvda", "hdc", "nvme0n1", "nvme10n2p3", "mmcblk0", "mmcblk1p2"])
  func changing(node: String) { #expect(StableName.changes("/dev/\(node)")) }

  @Test(
    "but not one that stays",
    arguments: ["dm-3", "md0", "loop0", "vg0/sda", "mapper/sda", "sd", "nvme0", "disk/by-path/pci-0-nvme-1"])
  func staying(node: String) { #expect(!StableName.changes("/dev/\(node)")) }

  @Test("A path that is not whole is refused")
  func relative() throws {
    let house = try PoolHouse(disks: false)
    defer { try? FileManager.default.removeItem(atPath: "\(house.store)/pools/q") }
    for (data, metadata) in [("sdb", "/dev/sdc"), ("/dev/sdb", "./sdc")] {
      let error = #expect(throws: PoolError.self) { try house.pools.create("q", data: data, metadata: metadata) }
      #expect(error?.description.hasSuffix("cannot serve a pool: name a device by its whole path") == true)
    }
  }
}
