/// What a block device begins with, so that nothing of value is overwritten. Offsets and magics are those of the formats'
/// own headers (ext4: linux fs/ext4, thin: drivers/md/dm-thin-metadata.c, and so on).
public enum DeviceSignature: String, CaseIterable, Sendable {
  case thinMetadata = "thin-pool metadata"
  case lvm = "an LVM physical volume"
  case luks = "a LUKS volume"
  case ext = "an ext2, ext3 or ext4 file system"
  case xfs = "an XFS file system"
  case btrfs = "a btrfs file system"
  case swap = "swap space"
  case mdRaid = "an md RAID member"
  case partitionTable = "a partition table"

  private var marks: [(offset: Int, bytes: [UInt8])] {
    switch self {
    case .thinMetadata: [(32, [0xba, 0x52, 0x9c, 0x01, 0, 0, 0, 0])]  // 27022010, little-endian
    case .lvm: [(512, Array("LABELONE".utf8)), (0, Array("LABELONE".utf8))]
    case .luks: [(0, Array("LUKS".utf8) + [0xba, 0xbe])]
    case .ext: [(0x438, [0x53, 0xef])]
    case .xfs: [(0, Array("XFSB".utf8))]
    case .btrfs: [(0x10040, Array("_BHRfS_M".utf8))]
    case .swap: [(4086, Array("SWAPSPACE2".utf8))]
    case .mdRaid: [(4096, [0xfc, 0x4e, 0x2b, 0xa9]), (0, [0xfc, 0x4e, 0x2b, 0xa9])]
    case .partitionTable: [(510, [0x55, 0xaa])]
    }
  }

  /// Enough bytes from the start of a device to recognise all of them.
  static let length = 0x10048

  /// Overwrites with zeros all that ``of(_:)`` looks at, so that it finds nothing.
  public static func wipe(_ path: String) throws { try BlockDevice.zeroStart(path, count: length) }

  /// nil when nothing known is found.
  public static func of(_ path: String) throws -> DeviceSignature? {
    let start = try BlockDevice.start(path, count: length)
    return find(in: start)
  }

  static func find(in start: [UInt8]) -> DeviceSignature? {
    allCases.first { signature in
      signature.marks.contains { start.dropFirst($0.offset).starts(with: $0.bytes) }
    }
  }
}
