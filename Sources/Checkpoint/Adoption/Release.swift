import DeviceMapper
import EpochStore

/// Gives adopted disks back to LVM: the undoing of an adoption. The guest must be shut down.
///
/// What was written since the adoption is copied into the old volume; meanwhile nobody can open the disk, and others work in the pool. When
/// a crash ends it, the pool's next user makes the disk usable again, with its newest content, and releasing it again goes on. Its
/// epochs are gone from the first copied block on, since they read from the old volume what they do not hold.
public struct Release {
  public struct Disk: Equatable, Sendable {
    public var vdev: String
    /// `/dev/vg0/web`, which is the whole disk afterwards, and what the guest's configuration named before the adoption.
    public var path: String
    public var oldPath: String
    /// What it is called while it is in the pool.
    public var poolPath: String
    public var sizeBytes: UInt64
  }

  let pools: Pools
  public let guest: String
  public let disks: [Disk]
  /// Epochs of the guest that cannot be restored any more.
  public let epochs: [Int]
  private let volumes: [(pool: String, device: String)]

  /// Finds what is to be released; changes nothing.
  ///
  /// - Parameter named: the disks; all adopted ones when empty.
  /// - Throws: ``AdoptionError/notAdopted(guest:)``, ``AdoptionError/noSuchDisk(guest:vdev:known:)``.
  public init(_ pools: Pools, guest: String, named: [String] = []) throws {
    self.pools = pools
    self.guest = guest
    let catalogs = try pools.catalogs()
    let adopted = catalogs.flatMap { catalog in
      catalog.volumes.filter { $0.guest == guest && $0.origin != nil }.map { (catalog, $0) }
    }
    guard !adopted.isEmpty else { throw AdoptionError.notAdopted(guest: guest) }
    if let unknown = named.first(where: { name in !adopted.contains { $0.1.vdev == name } }) {
      throw AdoptionError.noSuchDisk(guest: guest, vdev: unknown, known: adopted.map(\.1.vdev))
    }
    let chosen = adopted.filter { named.isEmpty || named.contains($0.1.vdev) }
    volumes = chosen.map { ($0.name, $1.device) }
    disks = chosen.compactMap { _, volume in
      volume.origin.map {
        Disk(
          vdev: volume.vdev, path: "/dev/\($0.volume)", oldPath: $0.path, poolPath: "/dev/mapper/\(volume.device)",
          sizeBytes: volume.sizeSectors * 512)
      }
    }
    let lost = chosen.flatMap { catalog, volume in catalog.epochs.filter { $0.device == volume.device } }
    epochs = Set(lost.map(\.epoch)).sorted()
  }

  /// The uuids of all guests that have epochs of the disks.
  private func guests() throws -> [String] {
    let devices = Set(volumes.map(\.device))
    let snapshots = try pools.catalogs().flatMap(\.epochs).filter { devices.contains($0.device) }
    return Set(snapshots.map(\.guestUUID)).sorted()
  }

  /// Their folders.
  private func lockGuests() throws -> [FolderLock] {
    let store = try EpochStore(path: pools.store)
    return try guests().compactMap { uuid in
      do { return try store.folder(uuid: uuid, create: false).lock(.exclusive) } catch StoreError.notFound {
        return nil
      }
    }
  }

  /// A device that shows an epoch reads the old volume, too, which is about to change.
  private func requireNoView(of device: String, in catalog: PoolCatalog) throws {
    let snapshots = catalog.epochs.filter { $0.device == device }
    for view in try EpochViews(pools: pools).list() where view.pool == catalog.name {
      let isOfDisk = snapshots.contains {
        $0.guestUUID == view.guestUUID && $0.epoch == view.epoch && $0.vdev == view.vdev
      }
      if isOfDisk {
        throw AdoptionError.epochInUse(
          guest: guest, vdev: view.vdev, device: view.path, uuid: view.guestUUID, epoch: view.epoch)
      }
    }
  }

  /// Looks at all disks before the first one is touched.
  private func requireNoClones() throws {
    for catalog in try pools.catalogs() {
      for (pool, device) in volumes where pool == catalog.name { try catalog.requireNoClones(of: device) }
    }
  }

  /// Releases disk after disk.
  ///
  /// - Parameters:
  ///   - discard: keeps what the old volumes hold instead of copying; what was written since the adoption is lost.
  ///   - progress: told the disk and the bytes compared.
  ///   - released: told each disk as soon as it is released, and the bytes copied back, whatever comes of the next one.
  /// - Returns: bytes copied back, for each of `disks`.
  /// - Throws: ``AdoptionError/hasClones(guest:vdev:volume:clones:)`` before anything was changed of any disk,
  ///   ``AdoptionError/inUse(guest:vdev:path:)`` and ``AdoptionError/epochInUse(guest:vdev:device:uuid:epoch:)`` before
  ///   anything was changed of that disk, `StoreError.locked` while something else works on one of its guests, `PoolError.locked` while
  ///   another disk of its pool is being released; what ended in the middle is continued by releasing again.
  @discardableResult
  public func perform(
    discard: Bool = false, progress: (_ vdev: String, _ bytes: UInt64) -> Void = { _, _ in },
    released: (_ disk: Disk, _ bytes: UInt64) -> Void = { _, _ in }
  ) throws -> [UInt64] {
    // A restore, an export or a take of the guest must not find its epochs changing.
    let locks = try lockGuests()
    defer { withExtendedLifetime(locks) {} }
    try requireNoClones()
    for uuid in try guests() { try EpochViews(pools: pools).removeCarried(of: uuid) }
    return try zip(disks, volumes).map { disk, volume in
      let bytes = try perform(volume.pool, volume.device, discard, progress)
      released(disk, bytes)
      return bytes
    }
  }

  private func perform(
    _ name: String, _ device: String, _ discard: Bool, _ progress: (_ vdev: String, _ bytes: UInt64) -> Void
  ) throws -> UInt64 {
    guard let begun = try begin(name, device, discard) else { return 0 }
    let copied: UInt64
    // It may take hours, in which nobody can come to this disk, and others work in the pool.
    do { copied = try copy(begun.volume, progress) } catch {
      // The first error is the one to report; what cannot be made good now, the pool's next user settles.
      begun.mark.letGo()
      _ = try? pools.ensureActive(name)
      throw error
    }
    try end(begun, in: name)
    return copied
  }

  /// Takes the disk away from everybody, and makes the devices between which it is copied.
  ///
  /// - Returns: nil when there is nothing to copy, and nothing left to do.
  private func begin(_ name: String, _ device: String, _ discard: Bool) throws -> BegunRelease? {
    let pool = try pools.open(name)
    // Before the pool was locked a clone could still come.
    try pool.catalog.requireNoClones(of: device)
    try requireNoView(of: device, in: pool.catalog)
    // Opening the pool may have ended a release that a crash broke off.
    guard let volume = pool.catalog.volumes.first(where: { $0.device == device }), let origin = volume.origin else {
      return nil
    }
    return try pool.beginRelease(volume, origin, discard: discard)
  }

  private func copy(
    _ volume: PoolCatalog.Volume, _ progress: (_ vdev: String, _ bytes: UInt64) -> Void
  ) throws -> UInt64 {
    try pools.operations.copyDifferences(
      from: volume.releaseDevices[0], to: volume.releaseDevices[1], bytes: volume.sizeSectors * 512,
      progress: { progress(volume.vdev, $0) })
  }

  private func end(_ begun: BegunRelease, in name: String) throws {
    defer { withExtendedLifetime(begun.mark) {} }
    // Takes have the pool while they are in their pauses, and a release that begins while it deletes epochs.
    let patient = pools.waiting(seconds: 300) {}
    try patient.open(name).endRelease(begun.volume)
  }
}

/// A disk that nobody can open any more, ready to be copied.
private struct BegunRelease {
  let volume: PoolCatalog.Volume
  /// Keeps whoever opens the pool meanwhile from settling what was begun.
  let mark: ReleaseMark
}

extension OpenPool {
  /// - Returns: nil when the old volume is kept as it is: all is done then.
  fileprivate func beginRelease(
    _ volume: PoolCatalog.Volume, _ origin: AdoptedOrigin, discard: Bool
  ) throws -> BegunRelease? {
    // Another process may be copying this very disk.
    let mark = try ReleaseMark(folder)
    try requireUnused(volume, origin)
    if !discard {
      if let fault = faults.first(where: { $0.device == volume.device }) { throw fault.error }
      try operations.requireUntouched(volume)
    }
    let before = catalog
    try change { catalog in
      catalog.doomSnapshots(of: volume)
      // From here on the old volume's content changes, by ourselves.
      if !discard { catalog.changeOrigin(of: volume.device) { ($0.state, $0.sample) = (.releasing, nil) } }
    }
    do {
      // Somebody may have come while that was written down.
      try requireUnused(volume, origin)
      try takeAway(volume, origin)
    } catch {
      // The first error is the one to report. Nothing was copied or deleted yet, so all can be as it was.
      mark.letGo()
      try? change { $0 = before }
      try? settle(volume, origin)
      throw error
    }
    do {
      // It may take minutes, in which nobody can come any more.
      try deleteDoomed()
      if !discard { try makeReleaseDevices(of: volume) }
    } catch {
      // The first error is the one to report; what cannot be made good now, the pool's next user settles.
      mark.letGo()
      if let origin = catalog.volumes.first(where: { $0.device == volume.device })?.origin {
        try? settle(volume, origin)
      }
      throw error
    }
    guard discard else { return BegunRelease(volume: volume, mark: mark) }
    try finishRelease(volume, origin)
    return nil
  }

  /// The old volume has the newest content.
  ///
  /// - Throws: ``AdoptionError/releasing(guest:vdev:)`` when the catalogue does not say any more that it is to have it.
  fileprivate func endRelease(_ volume: PoolCatalog.Volume) throws {
    guard let found = catalog.volumes.first(where: { $0.device == volume.device }), let origin = found.origin,
      origin.state == .releasing, found.thinID == volume.thinID
    else { throw AdoptionError.releasing(guest: volume.guest, vdev: volume.vdev) }
    try removeReleaseDevices(of: volume)
    try finishRelease(volume, origin)
  }

  private func finishRelease(_ volume: PoolCatalog.Volume, _ origin: AdoptedOrigin) throws {
    try change { $0.changeOrigin(of: volume.device) { $0.state = .released } }
    try removeReleased(volume, origin)
  }

  private func requireUnused(_ volume: PoolCatalog.Volume, _ origin: AdoptedOrigin) throws {
    guard try isUsed(volume) else { return }
    throw AdoptionError.inUse(guest: volume.guest, vdev: volume.vdev, path: origin.path)
  }

  /// From here on nobody can open the disk by any name that a configuration may have, until `removeReleased` gives the old
  /// volume back: no write of anybody can get lost in between.
  private func takeAway(_ volume: PoolCatalog.Volume, _ origin: AdoptedOrigin) throws {
    if try operations.isOurs(volume, origin) {
      try operations.swapTable(origin.device, to: [.error(sectors: volume.sizeSectors)])
    }
    try operations.removeOurs(volume.device, uuid: catalog.uuid(of: volume))
  }

  private func makeReleaseDevices(of volume: PoolCatalog.Volume) throws {
    let (source, target) = (volume.releaseDevices[0], volume.releaseDevices[1])
    try operations.create(
      source, uuid: catalog.uuid(ofDevice: source), table: [table(of: volume)], readOnly: true)
    try operations.create(
      target, uuid: catalog.uuid(ofDevice: target), table: operations.table(volume.originDevice), readOnly: false)
  }

  /// The devices between which a release copies.
  func removeReleaseDevices(of volume: PoolCatalog.Volume) throws {
    for device in volume.releaseDevices where try operations.info(device) != nil { try operations.remove(device) }
  }

  /// The last part of a release, after which the old volume is LVM's alone.
  func removeReleased(_ volume: PoolCatalog.Volume, _ origin: AdoptedOrigin) throws {
    if let old = try operations.info(origin.device), old.uuid == origin.uuid,
      try operations.table(origin.device).contains(where: { $0.type == "error" })
    {
      try operations.swapTable(origin.device, to: operations.table(volume.originDevice))
    }
    if try operations.info(volume.originDevice) != nil { try operations.remove(volume.originDevice) }
    if try !isRemoved(origin) {
      try lvm(origin) {
        try operations.unmarkAsOrigin($0)
        try operations.activate($0)
      }
    }
    try change { $0.drop(volume) }
    try deleteDoomed()
  }

  /// The old volume is gone for good, so there is nothing to give back: it has no device, and LVM says that it knows none such.
  private func isRemoved(_ origin: AdoptedOrigin) throws -> Bool {
    let hasDevice = try operations.list().contains { try operations.info($0.name)?.uuid == origin.uuid }
    if hasDevice { return false }
    var isKnown = true
    try lvm(origin) { _ in isKnown = try operations.knowsVolume(ofDevice: origin.uuid) }
    return !isKnown
  }
}

extension PoolCatalog.Volume {
  fileprivate var releaseDevices: [String] { ["\(device)-newest", "\(device)-back"] }
}
