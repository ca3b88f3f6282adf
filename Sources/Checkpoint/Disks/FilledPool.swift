/// A pool that gets more than anybody could say before, as by an import. It is looked at again and again, so that guests do not run out of
/// room by it.
struct FilledPool {
  let catalog: PoolCatalog
  /// Given to it since it was last looked at.
  private var bytes: UInt64 = 0

  init(_ catalog: PoolCatalog) { self.catalog = catalog }

  var blockBytes: UInt64 { catalog.blockSectors * 512 }

  /// Bytes after which it is looked at again: half of the smallest reserve, so that guests have the other half until it is seen.
  private static let bytesPerLook: UInt64 = 32 << 20

  /// Counts what a pool is asked for by writing a range of a disk: whole blocks, however few bytes of each are written.
  ///
  /// - Throws: `PoolError.nearlyFull` before guests of the pool could run out of it.
  mutating func give(_ range: Range<UInt64>, _ operations: any ThinPoolOperations) throws {
    guard !range.isEmpty else { return }
    bytes += ((range.upperBound - 1) / blockBytes - range.lowerBound / blockBytes + 1) * blockBytes
    guard bytes >= Self.bytesPerLook else { return }
    // Its id was taken before.
    try PoolReserve.check(catalog, operations.poolStatus(catalog.poolDevice), ids: 0)
    bytes = 0
  }
}
