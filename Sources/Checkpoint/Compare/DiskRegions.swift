extension EpochDifference {
  /// What changed in a stretch of a disk, in blocks of its pool.
  public struct DiskRegion: Equatable, Sendable {
    /// First byte, and bytes.
    public var start: UInt64
    public var bytes: UInt64
    public var changed: UInt64 = 0
    public var added: UInt64 = 0
    public var removed: UInt64 = 0

    public init(start: UInt64, bytes: UInt64) { (self.start, self.bytes) = (start, bytes) }
  }
}

/// Counts blocks by where they are on a disk.
struct DiskRegionCounter {
  private let blockBytes: UInt64
  /// Bytes of a region: a power of two of blocks, for at most ``EpochDifference/mostRegions``.
  private let regionBytes: UInt64
  private var counts: [EpochDifference.DiskRegion]

  init(sizeBytes: UInt64, blockBytes: UInt64) {
    self.blockBytes = max(1, blockBytes)
    let last = max(1, sizeBytes) - 1
    var bytes = self.blockBytes
    while last / bytes >= UInt64(EpochDifference.mostRegions) { bytes *= 2 }
    regionBytes = bytes
    counts = (0...last / bytes).map { .init(start: $0 * bytes, bytes: bytes) }
  }

  /// - Parameter length: in blocks, as `begin`; what is beyond the disk is not counted.
  mutating func count(_ kind: ThinDelta.Kind, _ begin: UInt64, _ length: UInt64) {
    let blocks = regionBytes / blockBytes
    let end = min(begin + length, blocks * UInt64(counts.count))
    var next = begin
    while next < end {
      let region = Int(next / blocks)
      let part = min(end, UInt64(region + 1) * blocks) - next
      switch kind {
      case .same: break
      case .changed: counts[region].changed += part
      case .added: counts[region].added += part
      case .removed: counts[region].removed += part
      }
      next += part
    }
  }

  /// Those where something changed, by place.
  var regions: [EpochDifference.DiskRegion] { counts.filter { $0.changed + $0.added + $0.removed > 0 } }
}
