import DeviceMapper
import EpochStore
import Glibc

/// Makes devices that show disks of epochs, and takes them away again. What there is, the kernel knows; nothing is written down but the thin
/// id of a snapshot that is to be thrown away: that is doomed before it is made, so that the pool deletes it as soon as no device uses it,
/// also after a crash or a reboot.
struct EpochViews {
  let pools: Pools
  /// The kernel's list of mounts.
  var mountTable: () throws -> String = {
    String(decoding: try DurableFile.read("/proc/self/mountinfo"), as: UTF8.self)
  }

  /// All views of the store's pools, by guest, epoch and disk.
  func list() throws -> [EpochView] {
    let mounts = Mounts(try mountTable())
    let catalogs = try pools.catalogs()
    var views: [EpochView] = []
    for (device, _) in try pools.operations.list() where device.hasPrefix(DeviceName.namePrefix) {
      guard let info = try pools.operations.info(device) else { continue }
      if let view = catalogs.lazy.compactMap({ EpochView(info, in: $0, mounts: mounts) }).first { views.append(view) }
    }
    return views.sorted { ($0.guestUUID, $0.epoch, $0.vdev) < ($1.guestUUID, $1.epoch, $1.vdev) }
  }

  /// The epochs of a guest that are mounted, or whose devices are there. The caller holds the guest's lock, exclusive: what was carried
  /// is a dead process's then, and goes away, so that it keeps no epoch.
  func epochs(of guestUUID: String) throws -> Set<Int> {
    try removeCarried(of: guestUUID)
    return Set(try list().filter { $0.guestUUID == guestUUID && $0.kind != .carried }.map(\.epoch))
  }

  /// Takes away what killed exports and imports of a guest used. The caller holds the guest's lock, exclusive. What cannot be taken away
  /// now is found by `ckpt recover`.
  func removeCarried(of guestUUID: String) throws {
    for view in try list() where view.guestUUID == guestUUID && view.kind == .carried { try? remove(view) }
  }

  /// Makes the device of a disk of an epoch.
  ///
  /// - Throws: ``ViewError``, `DiskError.noSuchEpoch`, `PoolError`.
  func make(_ kind: EpochView.Kind, _ vdev: String, of manifest: EpochManifest) throws -> EpochView {
    guard let disk = manifest.disks.first(where: { $0.vdev == vdev }) else {
      throw ViewError.noDisk(vdev: vdev, epoch: manifest.epoch, known: manifest.disks.map(\.vdev))
    }
    guard let id = disk.thinID else { throw ViewError.noSnapshot(vdev: vdev, device: disk.device) }
    let pool = try pools.open(disk.pool)
    guard let snapshot = pool.catalog.snapshots(manifest.uuid, manifest.epoch).first(where: { $0.vdev == vdev }),
      snapshot.thinID == id
    else { throw DiskError.noSuchEpoch(guest: manifest.guest, epoch: manifest.epoch) }
    try PoolReserve.checkHealth(pool.catalog, pool.operations.poolStatus(pool.device))
    let device = EpochView.device(of: snapshot)
    if let info = try pools.operations.made(device, uuid: EpochView.uuid(kind, of: snapshot, in: pool.catalog)) {
      guard EpochView(info, in: pool.catalog, mounts: Mounts("")) != nil else {
        throw PoolError.deviceTaken(device: device, why: "it was made by another program or store (uuid \(info.uuid))")
      }
      throw ViewError.exists(
        guest: manifest.guest, vdev: vdev, epoch: manifest.epoch, device: "/dev/mapper/\(device)")
    }
    try create(device, kind, snapshot, in: pool)
    guard let info = try pools.operations.info(device), let view = EpochView(info, in: pool.catalog, mounts: Mounts(""))
    else { throw PoolError.deviceTaken(device: device, why: "it vanished while it was being made") }
    return view
  }

  private func create(
    _ device: String, _ kind: EpochView.Kind, _ snapshot: PoolCatalog.Snapshot, in pool: OpenPool
  ) throws {
    guard let number = try pool.operations.info(pool.device)?.number else { throw PoolError.unknown(pool: pool.name) }
    var shown = snapshot.thinID
    if kind == .scratch {
      try pool.change { catalog in
        shown = try catalog.takeThinID()
        catalog.doomed.append(shown)
      }
      try pool.operations.createSnapshot(pool: pool.device, id: shown, of: snapshot.thinID)
    }
    try pool.operations.create(
      device, uuid: EpochView.uuid(kind, of: snapshot, in: pool.catalog),
      table: [
        .thin(
          pool: number, id: shown, sectors: snapshot.sizeSectors, origin: pool.origin(of: snapshot.device))
      ], readOnly: kind == .whole)
  }

  /// Takes a device away; a scratch snapshot goes with it.
  ///
  /// - Throws: ``ViewError/inUse(device:why:)``.
  func remove(_ view: EpochView) throws {
    do { try pools.operations.remove(view.device) } catch let error as DeviceMapperError where error.code == EBUSY {
      throw ViewError.inUse(device: view.path, why: "a process, a mount or another device holds it")
    }
    // Opening the pool deletes what is doomed.
    if view.kind != .whole { try pools.ensureActive(view.pool) }
  }

  /// Takes away what a killed `ckpt mount` made and nobody mounted, and what a killed export or import used. The caller holds the guest's
  /// lock, so none is on its way.
  ///
  /// - Returns: the devices.
  func removeAbandoned(of guestUUID: String) throws -> [String] {
    let abandoned = try list().filter {
      $0.guestUUID == guestUUID && $0.mounts.isEmpty && ($0.kind == .scratch || $0.kind == .carried)
    }
    for view in abandoned { try remove(view) }
    return abandoned.map(\.device)
  }
}
