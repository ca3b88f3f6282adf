import DeviceMapper
import Glibc

/// The space that must be free before an epoch is begun. A snapshot makes every block of the disk shared, so that from then on each
/// first write needs a new block: on a full pool the guest would get I/O errors where it could still write before.
///
/// - data: the larger of 64 MiB and 2 % of the pool;
/// - metadata: the larger of 1 MiB and 5 %, beyond the kernel's own hidden reserve;
/// - pools in files: the file system under them must have as much free as the data rule asks.
enum PoolReserve {
  static func data(ofTotal bytes: UInt64) -> UInt64 { max(64 << 20, bytes / 50) }
  static func metadata(ofTotal bytes: UInt64) -> UInt64 { max(1 << 20, bytes / 20) }

  /// - Parameter ids: how many thin ids are wanted.
  /// - Throws: `PoolError.unhealthy`, `PoolError.exhausted`, `PoolError.nearlyFull`.
  static func check(_ catalog: PoolCatalog, _ status: PoolStatus, ids: Int = 1) throws {
    try checkHealth(catalog, status)
    try catalog.requireThinIDs(ids)
    let blockBytes = catalog.blockSectors * 512
    let needData = data(ofTotal: status.totalDataBlocks * blockBytes)
    try require(
      "data", catalog.name, have: status.freeDataBlocks * blockBytes, need: needData, remedy: catalog.growth(of: .data))
    try require(
      "metadata", catalog.name, have: status.freeMetadataBytes,
      need: metadata(ofTotal: status.totalMetadataBytes), remedy: catalog.growth(of: .metadata))
    if case .files(let file, _) = catalog.backing {
      var system = statvfs()
      guard statvfs(file, &system) == 0 else {
        throw PoolError.io(operation: "examine the file system of", path: file, errno: errno)
      }
      let free = UInt64(system.f_bavail) * UInt64(system.f_frsize)
      try require(
        "the file system of \(file)", catalog.name, have: free, need: needData, remedy: "make room there")
    }
  }

  static func checkHealth(_ catalog: PoolCatalog, _ status: PoolStatus) throws {
    let pool = catalog.name
    let repair = "repair it offline: thin_check, then thin_repair, on its metadata device"
    switch status.mode {
    case .failed: throw PoolError.unhealthy(pool: pool, state: "its metadata failed", command: repair)
    case .readOnly:
      let grow = "it is out of metadata space, or damaged: \(catalog.growth(of: .metadata)); or \(repair)"
      throw PoolError.unhealthy(
        pool: pool, state: "it is read-only", command: status.needsCheck ? repair : grow)
    case .outOfDataSpace:
      throw PoolError.unhealthy(
        pool: pool, state: "it is out of data space",
        command: "prune epochs, or \(catalog.growth(of: .data))")
    case .readWrite:
      if status.needsCheck {
        throw PoolError.unhealthy(pool: pool, state: "its metadata needs a check", command: repair)
      }
    }
  }

  /// - Parameter remedy: what helps beside fewer epochs.
  private static func require(_ what: String, _ pool: String, have: UInt64, need: UInt64, remedy: String) throws {
    guard have < need else { return }
    throw PoolError.nearlyFull(
      pool: pool, what: what, have: have, need: need, command: "prune epochs, or \(remedy)")
  }
}
