import EpochStore

/// Takes back what ended takes left in a store and in its pools: changes of pools that were begun, by the pools' transaction ids,
/// then files and snapshots of epochs that were never published. What a take that lives has locked is its own business.
struct Sweep {
  private(set) var swept: [String] = []
  private(set) var failures: [String] = []

  /// - Parameters:
  ///   - pools: nil when the host has no device-mapper; the store is swept all the same.
  ///   - store: nil where only some guests are meant.
  init(_ folders: [GuestFolder], _ pools: Pools?, store: EpochStore? = nil) {
    if let store { note(store.path) { try Sweep.discardRemoved(store) } }
    for name in pools?.names() ?? [] {
      note("pool \(name)") { try Sweep.settle(name, pools) }
      note("pool \(name)") { try Sweep.release(name, pools) }
    }
    for folder in folders {
      note(folder.uuid) { try Sweep.sweep(folder, pools) }
      noteUnknown(folder, pools)
    }
  }

  private mutating func note(_ what: String, _ body: () throws -> [String]) {
    do { swept += try body() } catch StoreError.locked {} catch PoolError.locked {} catch {
      failures.append("\(what): \(error)")
    }
  }

  private mutating func noteUnknown(_ folder: GuestFolder, _ pools: Pools?) {
    guard let pools else { return }
    do {
      let unknown = try DiskHistory(pools, guestUUID: folder.uuid).diskOnlyEpochs(
        published: Set(folder.overview().allNumbers), used: folder.highestUsedNumber())
      swept += unknown.map(\.description)
    } catch {
      failures.append("\(folder.uuid): \(error)")
    }
  }

  private static func discardRemoved(_ store: EpochStore) throws -> [String] {
    try store.discardRemoved().map { "guest \($0) was given up, what was left of its folder is removed" }
  }

  private static func settle(_ name: String, _ pools: Pools?) throws -> [String] {
    try pools?.settle(name) == true ? ["pool \(name): a change that was begun is settled"] : []
  }

  private static func release(_ name: String, _ pools: Pools?) throws -> [String] {
    guard let pools, try MetadataSnapshot.releaseIfAbandoned(name, in: pools) else { return [] }
    return ["pool \(name): the snapshot of its metadata that a killed export or diff held is released"]
  }

  private static func sweep(_ folder: GuestFolder, _ pools: Pools?) throws -> [String] {
    let lock = try folder.lock(.exclusive)
    defer { _ = lock }
    let overview = try folder.overview()
    let guest = overview.name.isEmpty ? folder.uuid : overview.name
    let files = try folder.discardUnpublished().map { "\(guest): \($0) was never published, it is removed" }
    guard let pools else { return files }
    let views = try EpochViews(pools: pools).removeAbandoned(of: folder.uuid).map {
      "\(guest): device \($0) was made for an export, an import or a mount that did not come, it is removed"
    }
    let forgotten = try DiskHistory(pools, guestUUID: folder.uuid).forgetUnpublished(
      published: Set(overview.allNumbers), used: folder.highestUsedNumber())
    return files + views
      + forgotten.filter { $0.snapshots > 0 }.map {
        "\(guest): \($0.snapshots) snapshots of no epoch are removed from pool \($0.pool)"
      }
  }
}
