import DeviceMapper

/// Disks that an epoch has and its guest does not: the epoch was imported, or the disk was removed since. Going back to the epoch makes them.
extension DiskHistory {
  /// True when the disk can be made: nothing else bears its name.
  func isMissing(_ snapshot: PoolCatalog.Snapshot, in catalog: PoolCatalog) throws -> Bool {
    guard snapshot.device.hasPrefix(DeviceName.namePrefix),
      !catalog.volumes.contains(where: { $0.device == snapshot.device })
    else { return false }
    return try Disks(pools).isFree(snapshot.device, in: pools.catalogs())
  }

  /// Makes them show the epoch.
  func makeMissing(_ snapshots: [PoolCatalog.Snapshot], in pool: OpenPool) throws {
    let missing = try snapshots.filter { try isMissing($0, in: pool.catalog) }
    guard !missing.isEmpty else { return }
    var volumes: [PoolCatalog.Volume] = []
    try pool.perform { catalog in
      volumes = try missing.map { snapshot in
        let names = Self.names(in: snapshot.device)
        return PoolCatalog.Volume(
          guest: names.guest, vdev: names.vdev, thinID: try catalog.takeThinID(), sizeSectors: snapshot.sizeSectors,
          device: snapshot.device)
      }
      return .cloneEpoch(volumes: volumes)
    } _: {
      for (snapshot, volume) in zip(missing, volumes) {
        try pool.operations.createSnapshot(pool: pool.device, id: volume.thinID, of: snapshot.thinID)
      }
    }
  }

  /// `ckpt-GUEST-VDEV`: what `ckpt disk` calls guest and disk. No disk has a dash in its name.
  private static func names(in device: String) -> (guest: String, vdev: String) {
    let name = device.dropFirst(DeviceName.namePrefix.count)
    let dash = name.lastIndex(of: "-") ?? name.startIndex
    return (String(name[..<dash]), String(name[dash...].dropFirst()))
  }
}
