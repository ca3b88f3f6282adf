import CXXHash
import DeviceMapper

/// The parts of an origin by which we notice that somebody wrote to it: its start and those of its partitions, where a file system
/// that is mounted leaves a trace (ext4's superblock lies 1 KiB behind the start, that of btrfs 64 KiB), and pages spread evenly over the
/// rest.
enum OriginSample {
  static let start = 2 << 20
  static let partitionStart = 128 << 10
  static let pages = 256

  /// What hashes begin with; those of older versions have no such mark, and half as much of each partition.
  private static let mark = "2:"

  /// How much of each partition a sample has.
  static func bytesPerPartition(in sample: String) -> Int { sample.hasPrefix(mark) ? partitionStart : 64 << 10 }

  /// - Parameter first: the device's first `start` bytes, or all of a smaller one.
  static func parts(
    behind first: [UInt8], bytes: UInt64, perPartition: Int = OriginSample.partitionStart
  ) -> [(offset: UInt64, count: Int)] {
    let begin = UInt64(start)
    guard bytes > begin else { return [] }
    let partitions = PartitionTable.starts(in: first)
      .filter { $0 >= begin && $0 <= bytes - UInt64(perPartition) }
      .map { (offset: $0, count: perPartition) }
    let rest = (bytes - begin) / 4096
    let count = min(UInt64(pages), rest)
    return partitions + (0..<count).map { (offset: begin + $0 * (rest - 1) / max(1, count - 1) * 4096, count: 4096) }
  }

  static func hash(_ parts: [[UInt8]], perPartition: Int) -> String {
    let bytes = parts.flatMap(\.self)
    let hash = String(bytes.withUnsafeBytes { XXH3_64bits($0.baseAddress, $0.count) }, radix: 16)
    return perPartition == partitionStart ? mark + hash : hash
  }
}

/// Where the partitions of a disk begin, by its MBR and its GPT (UEFI 2.10, 5.2 and 5.3). Written by a guest: nothing in it is trusted.
enum PartitionTable {
  /// - Returns: bytes from the disk's start, those of 32 partitions at most, sectors being 512 bytes.
  static func starts(in disk: [UInt8]) -> [UInt64] {
    guard disk.count >= 1024, disk[510] == 0x55, disk[511] == 0xaa else { return [] }
    var sectors = (0..<4).map { little(disk, 446 + 16 * $0 + 8, 4) }
    if disk[512..<520].elementsEqual("EFI PART".utf8) {
      let (table, size) = (little(disk, 512 + 72, 8), little(disk, 512 + 84, 4))
      if table < 1024, (128...4096).contains(size) {
        sectors += (0..<32).map { little(disk, Int(table * 512 + size * $0) + 32, 8) }
      }
    }
    return Set(sectors.filter { $0 > 0 && $0 < 1 << 40 }).sorted().prefix(32).map { $0 * 512 }
  }

  /// 0 for what lies behind the end.
  private static func little(_ bytes: [UInt8], _ offset: Int, _ count: Int) -> UInt64 {
    guard offset + count <= bytes.count else { return 0 }
    return bytes[offset..<offset + count].reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }
}

extension ThinPoolOperations {
  /// What the old volume holds now, in parts.
  ///
  /// - Parameter older: a sample to compare it with, whose parts it is to have.
  func sample(_ volume: PoolCatalog.Volume, like older: String? = nil) throws -> String {
    let perPartition = older.map { OriginSample.bytesPerPartition(in: $0) } ?? OriginSample.partitionStart
    let bytes = volume.sizeSectors * 512
    let first = try read(volume.originDevice, parts: [(0, Int(min(bytes, UInt64(OriginSample.start))))])
    let rest = try read(
      volume.originDevice,
      parts: OriginSample.parts(behind: first.first ?? [], bytes: bytes, perPartition: perPartition))
    return OriginSample.hash(first + rest, perPartition: perPartition)
  }
}
