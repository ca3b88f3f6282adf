import EpochStore

/// Takes back what ended takes left in a store and in its pools: changes of pools that were begun, by the pools' transaction ids,
/// then files and snapshots of epochs that were never published. What a take that lives has locked is its own business.
struct Sweep {
  private(set) var swept: [String] = []
  private(set) var failures: [String] = []

  /// - Parameter pools: nil when the host has no device-mapper; the store is swept all the same.
  init(_ folders: [GuestFolder], _ pools: Pools?) {
    for name in pools?.names() ?? [] {
      attempt("pool \(name)") {
        if try pools?.settle(name) == true { swept.append("pool \(name): a change that was begun is settled") }
      }
    }
    for folder in folders {
      attempt(folder.uuid) {
        let lock = try folder.lock(.exclusive)
        defer { _ = lock }
        let overview = try folder.overview()
        let guest = overview.name.isEmpty ? folder.uuid : overview.name
        for name in try folder.discardUnpublished() {
          swept.append("\(guest): \(name) was never published, it is removed")
        }
        guard let pools else { return }
        let forgotten = try DiskHistory(pools, guestUUID: folder.uuid).forgetUnpublished(
          published: Set(overview.allNumbers))
        for pool in forgotten where pool.snapshots > 0 {
          swept.append("\(guest): \(pool.snapshots) snapshots of no epoch are removed from pool \(pool.pool)")
        }
      }
    }
  }

  private mutating func attempt(_ what: String, _ body: () throws -> Void) {
    do { try body() } catch StoreError.locked {} catch PoolError.locked {} catch {
      failures.append("\(what): \(error)")
    }
  }
}
