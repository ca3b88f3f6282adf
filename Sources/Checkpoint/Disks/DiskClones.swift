import DeviceMapper
public import EpochStore
import Glibc

// Disks that another guest gets of an epoch, and disks that nobody needs any more.
extension Disks {
  /// Finds out, changing nothing, whether a guest named `clone` can get the disks of an epoch.
  ///
  /// - Throws: `DiskError.noSuchEpoch`, `DiskError.exists` when it has such a disk already, `PoolError` for a pool without room or
  ///   ids, `AdoptionError` for an adopted disk that cannot be trusted.
  public func checkClone(_ clone: String, ofGuest uuid: String, epoch: Int, expected: [DiskEpoch]) throws {
    let found = try DiskHistory(pools, guestUUID: uuid).snapshots(epoch: epoch, expected: expected)
    for (catalog, snapshot) in found {
      _ = try freeDevice(for: clone, snapshot)
      try pools.operations.requireSoundOrigin(of: snapshot.device, in: catalog)
    }
    for catalog in found.map(\.0) {
      try catalog.requireThinIDs(found.count { $0.0.name == catalog.name })
      // The status of a pool that is not active yet is looked at when it is.
      if let status = try? pools.operations.poolStatus(catalog.poolDevice) { try PoolReserve.check(catalog, status) }
    }
  }

  /// Makes disks for a guest named `clone`, each a thin snapshot of a disk of the epoch: they share what neither side writes.
  ///
  /// - Returns: the new paths, by vdev.
  public func clone(_ clone: String, ofGuest uuid: String, epoch: Int) throws -> [String: String] {
    var paths: [String: String] = [:]
    do {
      for catalog in try pools.catalogs() where catalog.has(uuid, epoch) {
        let pool = try pools.open(catalog.name)
        let snapshots = pool.catalog.snapshots(uuid, epoch)
        try PoolReserve.check(pool.catalog, pool.operations.poolStatus(pool.device), ids: snapshots.count)
        for volume in try makeClone(clone, snapshots, in: pool) {
          paths[volume.vdev] = "/dev/mapper/\(volume.device)"
        }
      }
    } catch {
      // The first error is the one to report. What was made in another pool is nobody's.
      for vdev in paths.keys { _ = try? remove(guest: clone, vdev: vdev) }
      throw error
    }
    return paths
  }

  private func makeClone(
    _ clone: String, _ snapshots: [PoolCatalog.Snapshot], in pool: OpenPool
  ) throws -> [PoolCatalog.Volume] {
    for snapshot in snapshots { try pool.requireUsableEpochs(of: snapshot.device) }
    var volumes: [PoolCatalog.Volume] = []
    try pool.perform { catalog in
      volumes = try snapshots.map { snapshot in
        let device = try freeDevice(for: clone, snapshot)
        return PoolCatalog.Volume(
          guest: clone, vdev: snapshot.vdev, thinID: try catalog.takeThinID(), sizeSectors: snapshot.sizeSectors,
          device: device, standsOn: catalog.adopted(under: snapshot.device)?.device)
      }
      return .cloneEpoch(volumes: volumes)
    } _: {
      for (snapshot, volume) in zip(snapshots, volumes) {
        try pool.operations.createSnapshot(pool: pool.device, id: volume.thinID, of: snapshot.thinID)
      }
    }
    return volumes
  }

  /// What the clone's disk is to be called.
  private func freeDevice(
    for clone: String, _ snapshot: PoolCatalog.Snapshot
  ) throws -> String {
    let device = try Self.deviceName(guest: clone, vdev: snapshot.vdev)
    try requireFree(device, for: clone)
    return device
  }

  /// - Throws: `DiskError.exists`; `DiskError.badName` when imported epochs, whose disk was not made yet, will be restored to it: that
  ///   would put away what the guest has on it.
  func requireFree(_ device: String, for guest: String) throws {
    let catalogs = try pools.catalogs()
    guard try isFree(device, in: catalogs) else { throw DiskError.exists(device: device) }
    if catalogs.contains(where: { $0.epochs.contains { $0.device == device } }) {
      throw DiskError.badName(guest, why: "epochs of another guest are restored to \(device); call this one otherwise")
    }
  }

  /// No disk is called so in any of the pools' catalogues, nor any other device.
  func isFree(_ device: String, in catalogs: [PoolCatalog]) throws -> Bool {
    let taken = catalogs.contains { $0.volumes.contains { $0.device == device } }
    return try !taken && pools.operations.info(device) == nil
  }

  /// The disks of a guest that ``remove(guest:vdev:)`` would remove.
  ///
  /// - Throws: `DiskError.unknown` when there is none, `DiskError.hasEpochs`, `DiskError.inUse`.
  public func removable(guest: String, vdev: String? = nil) throws -> [Entry] {
    let catalogs = try pools.catalogs()
    let volumes = catalogs.flatMap { catalog in catalog.volumes(guest, vdev).map { (catalog, $0) } }
    guard !volumes.isEmpty else { throw DiskError.unknown(disk: "\(vdev.map { "\($0) " } ?? "")of guest '\(guest)'") }
    for (catalog, volume) in volumes { try checkUnused(volume, in: catalog) }
    let paths = Set(volumes.map { "/dev/mapper/\($0.1.device)" })
    return try list().filter { paths.contains($0.path) }
  }

  /// Removes disks of a guest for good: all, or one, right or wrong. Snapshots that others have of them stay, and so does what
  /// another program made under their names.
  ///
  /// - Returns: what is gone.
  /// - Throws: as ``removable(guest:vdev:)``; nothing was removed then.
  @discardableResult
  public func remove(guest: String, vdev: String? = nil) throws -> [Entry] {
    let entries = try removable(guest: guest, vdev: vdev)
    for name in Set(entries.map(\.pool)).sorted() {
      let pool = try pools.open(name)
      let volumes = pool.catalog.volumes(guest, vdev)
      for volume in volumes { try checkUnused(volume, in: pool.catalog) }
      try pool.perform(.removeVolumes(volumes: volumes)) {
        for volume in volumes {
          do {
            try pool.operations.removeOurs(volume.device, uuid: pool.catalog.uuid(of: volume))
          } catch let error as DeviceMapperError where error.code == EBUSY {
            throw DiskError.inUse(device: volume.device)
          }
        }
      }
      try pool.deleteDoomed()
    }
    return entries
  }

  private func checkUnused(_ volume: PoolCatalog.Volume, in catalog: PoolCatalog) throws {
    try catalog.refuseAdopted(volume.device)
    let epochs = Set(catalog.epochs.filter { $0.device == volume.device }.map(\.epoch)).sorted()
    guard epochs.isEmpty else {
      throw DiskError.hasEpochs(guest: volume.guest, device: volume.device, epochs: epochs)
    }
    if let info = try pools.operations.info(volume.device), info.uuid == catalog.uuid(of: volume), info.openCount > 0 {
      throw DiskError.inUse(device: volume.device)
    }
  }
}

extension PoolCatalog {
  /// A guest's disks: all, or one.
  fileprivate func volumes(_ guest: String, _ vdev: String?) -> [Volume] {
    volumes.filter { $0.guest == guest && (vdev == nil || $0.vdev == vdev) }
  }
}
