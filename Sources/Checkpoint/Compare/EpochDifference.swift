public import EpochStore

/// What changed in a guest from one epoch to another.
public struct EpochDifference: Sendable {
  /// Pages of a stretch of the guest's physical memory.
  public struct Region: Equatable, Sendable {
    /// First address and bytes.
    public var start: UInt64
    public var bytes: UInt64
    /// Pages that the second epoch has there.
    public var pages = 0
    /// Both have them, with other contents.
    public var changed = 0
    /// Only the second has them, only the first.
    public var added = 0
    public var removed = 0
  }

  /// One disk; what cannot be compared says why.
  public struct Disk: Sendable {
    public var vdev: String
    public var sizeBytes: UInt64
    /// In blocks.
    public var delta: ThinDelta?
    public var blockBytes: UInt64 = 0
    /// Of one size, a power of two of blocks, those where nothing changed left out; at most ``mostRegions``.
    public var regions: [DiskRegion] = []
    public var problem: String?
  }

  public var first: EpochManifest
  public var second: EpochManifest
  /// Of one size, a power of two, those without memory left out; at most ``mostRegions``.
  public var memory: [Region]
  public var disks: [Disk]

  public static let mostRegions = 16
}

/// Counts pages by where they are. Starts with small stretches, and doubles them at the end until there are few enough.
struct RegionCounter {
  private static let firstBytes: UInt64 = 2 << 20
  private var counts: [UInt64: EpochDifference.Region] = [:]

  mutating func count(_ pfn: UInt64, _ body: (inout EpochDifference.Region) -> Void) {
    let number = pfn * UInt64(EpochFormat.pageSize) / Self.firstBytes
    body(&counts[number, default: .init(start: number * Self.firstBytes, bytes: Self.firstBytes)])
  }

  func regions(most: Int) -> [EpochDifference.Region] {
    var regions = counts.values.sorted { $0.start < $1.start }
    var bytes = Self.firstBytes
    while regions.count > most {
      bytes *= 2
      var larger: [EpochDifference.Region] = []
      for region in regions {
        let start = region.start / bytes * bytes
        if larger.last?.start != start { larger.append(.init(start: start, bytes: bytes)) }
        larger[larger.count - 1].add(region)
      }
      regions = larger
    }
    return regions
  }
}

extension EpochDifference.Region {
  mutating func add(_ other: Self) {
    (pages, changed) = (pages + other.pages, changed + other.changed)
    (added, removed) = (added + other.added, removed + other.removed)
  }
}

extension EpochDifference {
  /// All of the memory.
  public var total: Region {
    memory.reduce(into: Region(start: 0, bytes: memory.last.map { $0.start + $0.bytes } ?? 0)) { $0.add($1) }
  }
}
