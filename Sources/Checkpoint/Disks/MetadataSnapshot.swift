import DeviceMapper

/// The one metadata snapshot that a pool can have: what tools read of a pool that guests write to. Released when it goes away. It would
/// outlive a process that is killed, so ``MetadataMark`` says whose it is.
final class MetadataSnapshot {
  /// Of the pool, as it was then.
  let catalog: PoolCatalog
  private let operations: any ThinPoolOperations
  private let mark: MetadataMark
  private var isHeld = false

  /// Waits for others of ours that read, as long as for a pool. The pool itself is free again when this returns.
  ///
  /// - Throws: `PoolError.locked` while another of ours reads, `PoolError.unhealthy` when the snapshot is another tool's.
  init(_ name: String, in pools: Pools) throws {
    let folder = PoolFolder(store: pools.store, name: name)
    guard folder.exists else { throw PoolError.unknown(pool: name) }
    let mark = try MetadataMark(folder, creating: true, wait: pools.lockWait, pools.mayGoOn)
    let pool = try pools.open(name)
    defer { withExtendedLifetime(pool) {} }
    (catalog, operations, self.mark) = (pool.catalog, pool.operations, mark)
    if try operations.poolStatus(pool.device).heldMetadataRoot != nil {
      guard try mark.isSet else {
        throw PoolError.unhealthy(
          pool: name, state: "another tool holds its metadata snapshot, or left it behind",
          command: "when none runs: dmsetup message \(pool.device) 0 release_metadata_snap")
      }
      try operations.releaseMetadataSnapshot(pool: pool.device)
    }
    try mark.set()
    do { try operations.reserveMetadataSnapshot(pool: pool.device) } catch {
      mark.clear()
      throw error
    }
    isHeld = true
  }

  deinit {
    // What cannot be released now stays marked, and the next one releases it.
    if isHeld, (try? operations.releaseMetadataSnapshot(pool: catalog.poolDevice)) != nil { mark.clear() }
  }

  /// Releases what a killed export or comparison of ours left held: the pool frees no metadata meanwhile.
  ///
  /// - Returns: whether there was something.
  static func releaseIfAbandoned(_ name: String, in pools: Pools) throws -> Bool {
    let folder = PoolFolder(store: pools.store, name: name)
    guard let mark = try? MetadataMark(folder, creating: false, wait: 0), try mark.isSet else { return false }
    let device = try folder.load().poolDevice
    let status = try pools.operations.poolStatus(device)
    // A failed pool shows nothing of it.
    guard status.mode != .failed else { return false }
    if status.heldMetadataRoot != nil { try pools.operations.releaseMetadataSnapshot(pool: device) }
    mark.clear()
    return status.heldMetadataRoot != nil
  }
}
