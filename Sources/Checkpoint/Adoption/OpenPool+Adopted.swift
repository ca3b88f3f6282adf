import DeviceMapper

// Adopted disks of a pool. Their devices, from the bottom up: the old volume's data; over them a read-only device; over that and the
// pool a thin device; over that the old volume's own device, which the guest's backend may hold.
extension OpenPool {
  /// Brings an adopted disk to where the catalogue says: after a boot, after a crash, after another tool put its own table over
  /// ours. The old volume's device is changed only while nobody has it open.
  ///
  /// - Throws: `AdoptionError` with what keeps the disk from being right.
  func settle(_ volume: PoolCatalog.Volume, _ origin: AdoptedOrigin) throws {
    if origin.state == .released { return try removeReleased(volume, origin) }
    // It is being copied now, and nobody else's business until that process ends it, or dies.
    if origin.state == .releasing, try ReleaseMark.isTaken(folder) { return }
    let wasActive = try operations.oldDevice(of: origin) != nil
    do { try show(volume, origin) } catch {
      // It holds what the disk was before it was adopted: no guest shall be started on that unawares.
      if !wasActive, origin.state == .adopted { try? lvm(origin) { try operations.deactivate($0) } }
      throw error
    }
  }

  private func show(_ volume: PoolCatalog.Volume, _ origin: AdoptedOrigin) throws {
    let old = try activeDevice(of: volume, origin)
    // In these states a dead process of ours may have stopped half-way; otherwise it is LVM that works on its volume.
    if origin.state != .adopted { try letRun(old) }
    if origin.state == .releasing { try removeReleaseDevices(of: volume) }
    if try operations.isOurs(volume, origin) {
      if let info = try operations.info(volume.device) { try check(volume, info) }
      try operations.requireNotPassed(volume)
    } else if origin.wasPassedBy == true, origin.state == .adopted {
      // It is never taken back: nobody is waited for.
      guard try operations.info(origin.device).map({ $0.openCount > 0 }) == true else {
        throw AdoptionError.originChanged(guest: volume.guest, vdev: volume.vdev, volume: origin.volume)
      }
      throw try operations.replaced(volume, origin, by: old)
    } else if try isOpen(origin.device) {
      // The swap never happened: the guest goes on as before.
      if origin.state == .adopting { return try forget(volume, origin) }
      try rememberPassing(of: volume, by: old)
      throw try operations.replaced(volume, origin, by: old)
    } else {
      try raise(volume, origin)
    }
    if origin.state == .adopting { try recordAdoption(of: volume) }
  }

  /// The old volume's device, activated where LVM left it out at boot.
  private func activeDevice(of volume: PoolCatalog.Volume, _ origin: AdoptedOrigin) throws -> DeviceInfo {
    if try operations.oldDevice(of: origin) == nil { try lvm(origin) { try operations.activate($0) } }
    guard let info = try operations.oldDevice(of: origin) else {
      throw AdoptionError.volumeGone(
        volume: origin.volume, why: "LVM activated it, but there is no device \(origin.device)")
    }
    guard info.uuid == origin.uuid else {
      throw AdoptionError.volumeGone(
        volume: origin.volume, why: "it is not the volume that was adopted (uuid \(info.uuid), not \(origin.uuid))")
    }
    guard info.name == origin.device else {
      if try isOpen(info.name), try !operations.isOurs(volume, origin) { try rememberPassing(of: volume, by: info) }
      throw AdoptionError.volumeGone(
        volume: origin.volume, why: "its device is called \(info.name) now; rename it back: lvrename")
    }
    return info
  }

  /// Whoever has the old volume's device open now writes into what the disk and all its epochs read.
  private func rememberPassing(of volume: PoolCatalog.Volume, by old: DeviceInfo) throws {
    // What a release of ours shows meanwhile takes no write.
    guard volume.origin?.wasPassedBy != true, try !operations.table(old.name).contains(where: { $0.type == "error" })
    else { return }
    // Where that cannot be written now, this one disk is told to be wrong all the same, and the next who opens the pool tries again.
    try? change { $0.changeOrigin(of: volume.device) { $0.wasPassedBy = true } }
  }

  private func letRun(_ device: DeviceInfo) throws {
    if device.hasInactiveTable { try operations.clear(device.name) }
    if device.suspended { try operations.resume(device.name) }
  }

  /// Makes what is missing of the devices, from the bottom up, and points the old volume's device at the top.
  private func raise(_ volume: PoolCatalog.Volume, _ origin: AdoptedOrigin) throws {
    let isNew = try operations.made(volume.originDevice, uuid: catalog.uuid(ofDevice: volume.originDevice)) == nil
    try makeOrigin(of: volume)
    do { try operations.requireUntouched(volume) } catch {
      if isNew { try operations.remove(volume.originDevice) }
      throw error
    }
    try activateOrCheck(volume)
    try operations.swapTable(origin.device, to: [operations.shownTable(of: volume)])
  }

  /// A device over the old volume's data, which nobody can write to through it.
  func makeOrigin(of volume: PoolCatalog.Volume) throws {
    let uuid = catalog.uuid(ofDevice: volume.originDevice)
    guard let origin = volume.origin, try operations.made(volume.originDevice, uuid: uuid) == nil else { return }
    try operations.create(volume.originDevice, uuid: uuid, table: operations.table(origin.device), readOnly: true)
  }

  /// The old volume is written to no more: remembers what it holds.
  func recordAdoption(of volume: PoolCatalog.Volume) throws {
    let sample = try operations.sample(volume)
    try change { $0.changeOrigin(of: volume.device) { ($0.state, $0.sample) = (.adopted, sample) } }
  }

  /// Removes what was made for an adoption whose swap did not happen.
  func forget(_ volume: PoolCatalog.Volume, _ origin: AdoptedOrigin) throws {
    for device in [volume.device, volume.originDevice] {
      try operations.removeOurs(device, uuid: catalog.uuid(ofDevice: device))
    }
    try lvm(origin) { try operations.unmarkAsOrigin($0) }
    try change { $0.drop(volume) }
    try deleteDoomed()
  }

  /// Whether more than so many have the disk open, by whichever of its devices, without ourselves.
  func isUsed(_ volume: PoolCatalog.Volume, byMoreThan users: Int = 0) throws -> Bool {
    guard let origin = volume.origin else {
      return try operations.openers(of: volume.device, atMost: users, patience: patience) > users
    }
    let old = try operations.openers(of: origin.device, atMost: users, patience: patience)
    if old > users { return true }
    // The old volume's device, while it shows the disk, has it open.
    let most = users - old + (try operations.isOurs(volume, origin) ? 1 : 0)
    return try operations.openers(of: volume.device, atMost: most, patience: patience) > most
  }

  func isOpen(_ device: String) throws -> Bool {
    try operations.openers(of: device, atMost: 0, patience: patience) > 0
  }

  /// Has LVM do something; its refusal concerns this disk only.
  func lvm(_ origin: AdoptedOrigin, _ body: (LogicalVolume) throws -> Void) throws {
    guard let volume = LogicalVolume(origin.volume) else {
      throw AdoptionError.volumeGone(volume: origin.volume, why: "LVM knows no such name")
    }
    do { try body(volume) } catch let error as CheckpointError {
      throw AdoptionError.volumeGone(volume: origin.volume, why: "\(error)")
    }
  }
}

extension ThinPoolOperations {
  /// What the old volume's device shows while the disk is adopted.
  func shownTable(of volume: PoolCatalog.Volume) throws -> Target {
    guard let info = try self.info(volume.device) else {
      throw PoolError.deviceTaken(device: volume.device, why: "it vanished while it was being used")
    }
    return .linear(over: info.number, sectors: volume.sizeSectors)
  }

  /// The old volume's device, also under another name that LVM gave it meanwhile; nil when it is not active.
  func oldDevice(of origin: AdoptedOrigin) throws -> DeviceInfo? {
    if let info = try self.info(origin.device) { return info }
    for (name, _) in try list() {
      if let info = try self.info(name), info.uuid == origin.uuid { return info }
    }
    return nil
  }

  /// Whether the old volume's device shows the disk.
  func isOurs(_ volume: PoolCatalog.Volume, _ origin: AdoptedOrigin) throws -> Bool {
    guard try self.info(volume.device) != nil, let old = try oldDevice(of: origin), old.uuid == origin.uuid else {
      return false
    }
    return try self.table(old.name) == [shownTable(of: volume)]
  }

  /// Whether a guest whose backend holds the device `number` uses this disk, by whichever of its devices.
  func shows(_ number: DeviceNumber, _ volume: PoolCatalog.Volume, _ origin: AdoptedOrigin) throws -> Bool {
    if try self.info(volume.device)?.number == number { return true }
    guard let old = try oldDevice(of: origin), old.uuid == origin.uuid, old.number == number else { return false }
    return try origin.state != .adopting || isOurs(volume, origin)
  }

  /// The same of any disk.
  func shows(_ number: DeviceNumber, _ volume: PoolCatalog.Volume) throws -> Bool {
    if let origin = volume.origin { return try shows(number, volume, origin) }
    return try self.info(volume.device)?.number == number
  }

  /// - Throws: `AdoptionError.replaced` when another tool changed the old volume's device under us.
  func requireOurs(_ volume: PoolCatalog.Volume, _ origin: AdoptedOrigin) throws {
    if origin.state == .releasing || origin.state == .released {
      throw AdoptionError.releasing(guest: volume.guest, vdev: volume.vdev)
    }
    // A volume that LVM has deactivated can do no harm.
    guard let old = try oldDevice(of: origin), try !isOurs(volume, origin) else { return try requireNotPassed(volume) }
    throw try replaced(volume, origin, by: old)
  }

  func replaced(
    _ volume: PoolCatalog.Volume, _ origin: AdoptedOrigin, by old: DeviceInfo
  ) throws -> AdoptionError {
    let found = try self.table(old.name).map(\.description).joined(separator: " | ")
    return .replaced(guest: volume.guest, vdev: volume.vdev, volume: origin.volume, found: found)
  }

  /// - Throws: `AdoptionError.originChanged` when the old volume does not hold what it held when it was adopted.
  func requireUntouched(_ volume: PoolCatalog.Volume) throws {
    try requireNotPassed(volume)
    guard let origin = volume.origin, let sample = origin.sample, try self.sample(volume, like: sample) != sample else {
      return
    }
    throw AdoptionError.originChanged(guest: volume.guest, vdev: volume.vdev, volume: origin.volume)
  }

  /// - Throws: `AdoptionError.originChanged` when somebody used the old volume past the pool.
  func requireNotPassed(_ volume: PoolCatalog.Volume) throws {
    guard let origin = volume.origin, origin.wasPassedBy == true else { return }
    throw AdoptionError.originChanged(guest: volume.guest, vdev: volume.vdev, volume: origin.volume)
  }

  /// Looks at what a disk reads from, if at anything, without opening its pool. Before the first start of the pool after a boot
  /// it is not there; whoever opens the pool looks again.
  ///
  /// - Throws: `AdoptionError` when it was written to, or another tool's table stands over it under somebody who uses it.
  func requireSoundOrigin(of device: String, in catalog: PoolCatalog) throws {
    guard let adopted = catalog.adopted(under: device), let origin = adopted.origin else { return }
    guard try self.info(adopted.originDevice) != nil else { return try requireNotPassed(adopted) }
    try requireUntouched(adopted)
    // Under nobody, opening the pool puts ours back.
    if let old = try oldDevice(of: origin), old.openCount > 0 { try requireOurs(adopted, origin) }
  }
}

extension Pools {
  /// The old volume's device of an adoption or a release that was killed while it held the device.
  ///
  /// - Returns: its name when it was suspended, and runs again.
  func resumeIfSwapped(_ volume: PoolCatalog.Volume) throws -> String? {
    guard let origin = volume.origin, origin.state != .adopted, let info = try operations.info(origin.device),
      info.uuid == origin.uuid, info.suspended
    else { return nil }
    if info.hasInactiveTable { try operations.clear(info.name) }
    try operations.resume(info.name)
    return info.name
  }
}
