import DeviceMapper
public import EpochStore

/// The epochs of one guest's disks: going back to one, and forgetting them.
public struct DiskHistory: Sendable {
  let pools: Pools
  let guestUUID: String

  public init(_ pools: Pools, guestUUID: String) {
    self.pools = pools
    self.guestUUID = guestUUID
  }

  /// What to call the guest to people: its name where that means it in the store, else its uuid.
  var guestName: String {
    guard let store = try? EpochStore(path: pools.store),
      let name = try? store.folder(uuid: guestUUID, create: false).overview().name,
      (try? store.find(name))?.uuid == guestUUID
    else { return guestUUID }
    return name
  }

  /// The epochs that have disks, ascending.
  public func epochs() throws -> [Int] {
    let all = try pools.catalogs().flatMap(\.epochs).filter { $0.guestUUID == guestUUID }
    return Set(all.map(\.epoch)).sorted()
  }

  /// The epochs whose disks somebody looks at: they cannot be removed. The caller holds the guest's lock, exclusive.
  public func mountedEpochs() throws -> Set<Int> { try EpochViews(pools: pools).epochs(of: guestUUID) }

  /// Finds out, changing nothing, whether the pools still hold every snapshot that an epoch's manifest names.
  ///
  /// - Throws: `DiskError.noSuchEpoch`, `DiskError.cannotRollBack`, `PoolError.exhausted`, `AdoptionError` for an origin that cannot be
  ///   trusted.
  public func check(epoch: Int, expected: [DiskEpoch]) throws {
    let found = try snapshots(epoch: epoch, expected: expected)
    for (catalog, snapshot) in found {
      try requireThinIDs(for: found.filter { $0.0.name == catalog.name }.map(\.1), in: catalog)
      if try isMissing(snapshot, in: catalog) { continue }
      let volume = try self.volume(of: snapshot, in: catalog)
      try pools.operations.requireSoundOrigin(of: volume.device, in: catalog)
    }
  }

  /// Going back takes an id for each disk, and another one for each that must be made first.
  func requireThinIDs(for snapshots: [PoolCatalog.Snapshot], in catalog: PoolCatalog) throws {
    let missing = try snapshots.filter { try isMissing($0, in: catalog) }
    try catalog.requireThinIDs(snapshots.count + missing.count)
  }

  /// The snapshots that an epoch's manifest names, with their pools' catalogues.
  ///
  /// - Throws: `DiskError.noSuchEpoch` when one of them is gone.
  func snapshots(epoch: Int, expected: [DiskEpoch]) throws -> [(PoolCatalog, PoolCatalog.Snapshot)] {
    let catalogs = try pools.catalogs()
    return try expected.filter { $0.thinID != nil }.map { disk in
      guard let catalog = catalogs.first(where: { $0.name == disk.pool }),
        let snapshot = catalog.snapshots(guestUUID, epoch).first(where: { $0.vdev == disk.vdev }),
        snapshot.thinID == disk.thinID
      else { throw DiskError.noSuchEpoch(guest: guestName, epoch: epoch) }
      return (catalog, snapshot)
    }
  }

  /// Whether the pool still has the snapshot of a disk that an epoch's manifest names. By its thin id alone it could be another's.
  func holds(_ disk: DiskEpoch, of epoch: Int) throws -> Bool {
    try pools.catalogs().contains { catalog in
      catalog.name == disk.pool
        && catalog.snapshots(guestUUID, epoch).contains { $0.vdev == disk.vdev && $0.thinID == disk.thinID }
    }
  }

  /// Looks for what would stop a rollback in one pool, but for ids: those that it needs may be taken already.
  ///
  /// - Throws: `PoolError`, `DiskError.cannotRollBack`, what is wrong with one of the disks.
  func check(pool: OpenPool, _ epoch: Int, users: DiskUsers) throws {
    try PoolReserve.checkHealth(pool.catalog, pool.operations.poolStatus(pool.device))
    for snapshot in pool.catalog.snapshots(guestUUID, epoch) {
      // A disk that came from another host has no volume here yet.
      if try isMissing(snapshot, in: pool.catalog) { continue }
      let volume = try self.volume(of: snapshot, in: pool.catalog)
      try pool.requireUsableEpochs(of: volume.device)
      if try pool.isUsed(volume, byOthersThan: users) {
        throw DiskError.cannotRollBack(
          device: volume.device, why: "it is in use; unmount it, or detach it from the guest that has it")
      }
    }
  }

  /// Deletes what was live before the last rollbacks, those too whose process died before it could. While the guest's folder does not say
  /// that the last one has ended, and no epoch was taken before it, there is no other copy of that: it stays.
  public func commitRollback() throws {
    guard try mayForgetNewest else { return }
    try doom { catalog in
      let (ours, others) = catalog.superseded.split { $0.guestUUID == guestUUID }
      catalog.superseded = others
      return ours.map(\.thinID)
    }
  }

  private var mayForgetNewest: Bool {
    get throws {
      let folder: GuestFolder
      do { folder = try EpochStore(path: pools.store).folder(uuid: guestUUID, create: false) } catch {
        guard case .notFound = error else { throw error }
        return true
      }
      guard let last = try folder.lastRollback() else { return true }
      return last.isDone || last.safetyEpoch != nil
    }
  }

  /// What became free in a pool.
  public struct Forgotten: Equatable, Sendable {
    public var pool: String
    /// Snapshots that are gone.
    public var snapshots: Int
    /// Snapshots that something still uses: they go with the pool's next change after that.
    public var inUse: Int
    /// Bytes of the pool's data. Guests that write meanwhile make it less.
    public var freedBytes: UInt64
  }

  /// Deletes the disks' part of an epoch of the guest's folder. Harmless when it is gone already.
  public func forget(epoch: Int) throws {
    try forget { $0.epoch == epoch && $0.isUnknown != true }
  }

  /// Deletes the disks of epochs that only pools know, because somebody gives them up.
  func forget(unknown epochs: Set<Int>) throws -> [Forgotten] { try forget { epochs.contains($0.epoch) } }

  /// Deletes the disks of every epoch that is not published: of those that were removed, and garbage of a crash between the disks'
  /// commit and the manifest. The caller holds the guest's lock. Those of epochs that the guest's folder never had stay.
  ///
  /// - Parameters:
  ///   - published: all epochs of the folder.
  ///   - used: the highest number that it ever gave away; takes and imports see to it before they make disks.
  /// - Returns: what that came to in each pool that had some.
  @discardableResult
  public func forgetUnpublished(published: Set<Int>, used: Int) throws -> [Forgotten] {
    try markUnknown(published: published, used: used)
    return try forget { !published.contains($0.epoch) && $0.isUnknown != true }
  }

  @discardableResult
  private func forget(_ matches: (PoolCatalog.Snapshot) -> Bool) throws -> [Forgotten] {
    try doom { catalog in
      let (ours, others) = catalog.epochs.split { $0.guestUUID == guestUUID && matches($0) }
      catalog.epochs = others
      return ours.map(\.thinID)
    }
  }

  /// Takes ids out of every catalogue that has some, then deletes them in the pool, and those that an earlier call could not.
  @discardableResult
  private func doom(_ take: (inout PoolCatalog) -> [ThinID]) throws -> [Forgotten] {
    var result: [Forgotten] = []
    for var catalog in try pools.catalogs() {
      let doomed = catalog.doomed.count + take(&catalog).count
      guard doomed > 0 else { continue }
      // Opening the pool deletes what an earlier call left, so this comes first; an inactive pool has no status yet.
      var used = try? pools.operations.poolStatus(catalog.poolDevice).usedDataBlocks
      let pool = try pools.open(catalog.name)
      used = try used ?? pool.operations.poolStatus(pool.device).usedDataBlocks
      try pool.change { $0.doomed += take(&$0) }
      try pool.deleteDoomed()
      let status = try pool.operations.poolStatus(pool.device)
      let left = pool.catalog.doomed.count
      // Nothing became free: say so. The ids stay doomed and go with the first change after the repair.
      if left > 0 { try PoolReserve.checkHealth(pool.catalog, status) }
      let freed = max(used ?? 0, status.usedDataBlocks) - status.usedDataBlocks
      result.append(
        Forgotten(
          pool: pool.name, snapshots: doomed - left, inUse: left, freedBytes: freed * pool.catalog.blockSectors * 512))
    }
    return result
  }

  private func volume(
    of snapshot: PoolCatalog.Snapshot, in catalog: PoolCatalog
  ) throws -> PoolCatalog.Volume {
    guard let volume = catalog.volumes.first(where: { $0.device == snapshot.device }) else {
      throw DiskError.cannotRollBack(device: snapshot.device, why: "the pool has no such disk any more")
    }
    guard volume.sizeSectors == snapshot.sizeSectors else {
      throw DiskError.cannotRollBack(
        device: snapshot.device,
        why: "it has \(volume.sizeSectors * 512) bytes, the epoch's has \(snapshot.sizeSectors * 512)")
    }
    return volume
  }
}

extension Array {
  fileprivate func split(_ isFirst: (Element) -> Bool) -> ([Element], [Element]) {
    (filter(isFirst), filter { !isFirst($0) })
  }
}
