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
    for line in output.split(separator: UInt8(ascii: "\n")) {
      let words = line.split(separator: UInt8(ascii: " "))
      guard let name = words.first.map({ String(decoding: $0, as: UTF8.self) }) else { continue }
      guard ["<same", "<different", "<left_only", "<right_only"].contains(name) else { continue }
      guard let length = words.lazy.compactMap(Self.length).first else { return nil }
      switch name {
      case "<same": same += length
      case "<different": changed += length
      case "<left_only": removed += length
      default: added += length
      }
    }
    guard output.suffix(64).reversed().starts(with: Array("</superblock>\n".utf8).reversed()) else { return nil }
  }

  private static func length(_ word: ArraySlice<UInt8>) -> UInt64? {
    let start = Array("length=\"".utf8)
    guard word.starts(with: start) else { return nil }
    let digits = word.dropFirst(start.count).prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    // A device has fewer blocks than this.
    return UInt64(String(decoding: digits, as: UTF8.self)).flatMap { $0 < 1 << 48 ? $0 : nil }
  }
}

extension Pools {
  /// Compares two volumes of a pool while guests write, by `thin_delta` of thin-provisioning-tools.
  ///
  /// - Returns: with it the bytes of a block.
  /// - Throws: ``CheckpointError/tool(command:status:message:)``, `PoolError`.
  func delta(_ name: String, from older: ThinID, to younger: ThinID) throws -> (ThinDelta, blockBytes: UInt64) {
    var pool: OpenPool? = try open(name)
    guard let catalog = pool?.catalog, let snapshot = try pool.map(MetadataSnapshot.init) else {
      throw PoolError.unknown(pool: name)
    }
    // Takes go on meanwhile: what is read does not change.
    pool = nil
    defer { _ = snapshot }
    let output = try operations.thinDelta(catalog.backing, from: older, to: younger)
    guard let delta = ThinDelta(thinDelta: output) else {
      throw CheckpointError.tool(command: "thin_delta", status: 0, message: "what it printed was not understood")
    }
    return (delta, catalog.blockSectors * 512)
  }
}

extension DeviceMapper {
  func thinDelta(_ backing: PoolCatalog.Backing, from older: ThinID, to younger: ThinID) throws -> [UInt8] {
    let metadata =
      switch backing {
      case .devices(_, let metadata): metadata
      case .files(_, let metadata): try LoopDevice.attach(metadata)
      }
    return try Command.run(["thin_delta", "-m", "--snap1", String(older), "--snap2", String(younger), metadata])
  }
}
