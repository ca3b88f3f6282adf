import DeviceMapper

/// How two volumes of a pool differ, in blocks of the pool.
public struct ThinDelta: Equatable, Sendable {
  /// The same block of the pool's data shows in both.
  public var same: UInt64 = 0
  /// Both have one, not the same.
  public var changed: UInt64 = 0
  /// Only the younger has one; the other reads as zeros there.
  public var added: UInt64 = 0
  /// Only the older has one.
  public var removed: UInt64 = 0

  public init() {}

  /// Counts what `thin_delta` prints: an element per range, `<different begin="3" length="2"/>`.
  ///
  /// - Returns: nil for anything else than its whole output.
  init?(thinDelta output: [UInt8]) {
    let isWhole = Self.forEachRange(thinDelta: output) { kind, _, length in
      switch kind {
      case .same: same += length
      case .changed: changed += length
      case .removed: removed += length
      case .added: added += length
      }
    }
    guard isWhole else { return nil }
  }

  /// How a range of blocks differs.
  enum Kind: String {
    case same = "<same"
    case changed = "<different"
    case removed = "<left_only"
    case added = "<right_only"
  }

  /// Hands out every range that `thin_delta` printed, in blocks.
  ///
  /// - Returns: false for anything else than its whole output.
  static func forEachRange(
    thinDelta output: [UInt8], _ body: (_ kind: Kind, _ begin: UInt64, _ length: UInt64) -> Void
  ) -> Bool {
    for line in output.split(separator: UInt8(ascii: "\n")) {
      let words = line.split(separator: UInt8(ascii: " "))
      guard let kind = words.first.flatMap({ Kind(rawValue: String(decoding: $0, as: UTF8.self)) }) else { continue }
      guard let begin = words.lazy.compactMap({ number($0, "begin=\"") }).first,
        let length = words.lazy.compactMap({ number($0, "length=\"") }).first
      else { return false }
      body(kind, begin, length)
    }
    return output.suffix(64).reversed().starts(with: Array("</superblock>\n".utf8).reversed())
  }

  private static func number(_ word: ArraySlice<UInt8>, _ name: String) -> UInt64? {
    let start = Array(name.utf8)
    guard word.starts(with: start) else { return nil }
    let digits = word.dropFirst(start.count).prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    // A device has fewer blocks than this.
    return UInt64(String(decoding: digits, as: UTF8.self)).flatMap { $0 < 1 << 48 ? $0 : nil }
  }
}

extension Pools {
  /// The same pools for who reads disks of epochs: somebody else may read the pool's metadata for minutes.
  func waiting(for cancellation: TakeCancellation) -> Pools { waiting(seconds: 300) { try cancellation.check() } }

  static let notUnderstood = CheckpointError.tool(
    command: "thin_delta", status: 0, message: "what it printed was not understood")

  /// What `thin_delta` prints of two volumes, under a metadata snapshot that is released on every path.
  func thinDelta(_ name: String, from older: ThinID, to younger: ThinID) throws -> ([UInt8], blockBytes: UInt64) {
    // Takes go on meanwhile: what is read does not change.
    let snapshot = try MetadataSnapshot(name, in: self)
    defer { withExtendedLifetime(snapshot) {} }
    let output = try operations.thinDelta(snapshot.catalog.backing, from: older, to: younger, mayGoOn)
    return (output, snapshot.catalog.blockSectors * 512)
  }
}

extension DeviceMapper {
  func thinDelta(
    _ backing: PoolCatalog.Backing, from older: ThinID, to younger: ThinID, _ mayGoOn: @escaping () throws -> Void
  ) throws -> [UInt8] {
    let metadata =
      switch backing {
      case .devices(_, let metadata): metadata
      case .files(_, let metadata): try LoopDevice.attach(metadata)
      }
    return try Command.run(
      ["thin_delta", "-m", "--snap1", String(older), "--snap2", String(younger), metadata], mayGoOn)
  }
}
