import DeviceMapper
import Glibc

// The devices of a pool and its disks, made from the catalogue after a boot and compared with it ever after.
extension OpenPool {
  func activatePool() throws {
    let backing = try operations.attach(catalog.backing)
    if let info = try operations.made(device, uuid: catalog.poolUUID) {
      guard info.uuid == catalog.poolUUID else {
        throw PoolError.deviceTaken(
          device: device, why: "it was made by another program or store (uuid \(info.uuid))")
      }
      let devices = try operations.table(device).first?.poolDevices
      guard let devices, devices == (backing.metadata, backing.data) else {
        throw PoolError.deviceTaken(
          device: device,
          why: "it does not run on \(backing.metadata) and \(backing.data) as the catalogue says")
      }
      if info.suspended { try operations.resume(device) }
      return
    }
    // The kernel formats metadata that begins with zeros: right for a new pool, the end of an old one.
    guard backing.metadataIsFormatted || catalog == catalog.asCreated else {
      throw PoolError.unusable(
        device: "\(backing.metadata)", why: "it is to hold the metadata of pool \(name), but it is empty")
    }
    try operations.create(device, uuid: catalog.poolUUID, table: [table(over: backing)], readOnly: false)
  }

  /// The pool over all of its devices. The kernel raises an event when less than a twentieth of the data is free, and one by itself
  /// when metadata runs low.
  func table(over backing: AttachedBacking) -> Target {
    let blocks = backing.dataSectors / catalog.blockSectors
    return .thinPool(
      metadata: backing.metadata, data: backing.data, dataSectors: blocks * catalog.blockSectors,
      blockSectors: catalog.blockSectors, lowWaterBlocks: max(1, blocks / 20))
  }

  /// What is wrong with one disk becomes one of ``faults``.
  ///
  /// - Throws: what concerns the pool itself, or its catalogue.
  func activateVolumes() throws {
    for volume in catalog.volumes {
      do { try bringUp(volume) } catch let error where concernsOneDisk(error) { faults.append((volume.device, error)) }
    }
  }

  /// Makes a disk what the catalogue says, whichever kind it is.
  private func bringUp(_ volume: PoolCatalog.Volume) throws {
    if let origin = volume.origin { return try settle(volume, origin) }
    if volume.standsOn != nil { return try settleClone(volume) }
    try activateOrCheck(volume)
  }

  /// False for what concerns the pool, or its catalogue.
  func concernsOneDisk(_ error: any Error) -> Bool {
    switch error {
    case is AdoptionError, is DiskError, is DeviceMapperError: true
    case PoolError.deviceTaken(let taken, _): taken != device
    default: false
    }
  }

  func activateOrCheck(_ volume: PoolCatalog.Volume) throws {
    if let info = try operations.made(volume.device, uuid: catalog.uuid(of: volume)) {
      try check(volume, info)
    } else {
      try activate(volume)
    }
  }

  /// Lets an active volume run, and compares it with the catalogue.
  func check(_ volume: PoolCatalog.Volume, _ info: DeviceInfo) throws {
    guard info.uuid == catalog.uuid(of: volume) else {
      throw PoolError.deviceTaken(device: volume.device, why: "it was made by another program or store")
    }
    // We hold the lock, so no take is in its pause: whoever loaded a table or suspended the device died.
    if info.hasInactiveTable { try operations.clear(volume.device) }
    if info.suspended { try operations.resume(volume.device) }
    let (found, expected) = (try operations.table(volume.device), [try table(of: volume)])
    guard found == expected else {
      throw DiskError.tableDiffers(
        device: volume.device, found: found.map(\.description).joined(separator: " | "),
        expected: expected[0].description)
    }
  }

  /// Makes the volume's device. That of an adopted disk stands on one over the origin's data, which is read-only.
  ///
  /// - Throws: `DiskError.lost` when the pool has nothing of the volume.
  func activate(_ volume: PoolCatalog.Volume) throws {
    if volume.origin != nil { try makeOrigin(of: volume) }
    do {
      try operations.create(
        volume.device, uuid: catalog.uuid(of: volume), table: [table(of: volume)], readOnly: false)
    } catch let error as DeviceMapperError where error.code == ENODATA {
      throw DiskError.lost(
        device: volume.device, pool: name, guest: volume.guest, vdev: volume.vdev, isAdopted: volume.origin != nil)
    }
  }

  func table(of volume: PoolCatalog.Volume) throws -> Target {
    try .thin(
      pool: number(of: device), id: volume.thinID, sectors: volume.sizeSectors,
      origin: origin(of: volume.device))
  }

  /// The device that volumes, and snapshots of them, read what they do not hold from: that of an adopted disk, for its clones too.
  func origin(of device: String) throws -> DeviceNumber? {
    guard let volume = catalog.volumes.first(where: { $0.device == device }), volume.hasOrigin else { return nil }
    return try number(of: volume.originDevice)
  }

  func number(of device: String) throws -> DeviceNumber {
    guard let info = try operations.info(device) else {
      throw PoolError.deviceTaken(device: device, why: "it vanished while it was being made")
    }
    return info.number
  }
}

// What is wrong with disks, and who minds.
extension OpenPool {
  private func fault(of device: String) -> (any Error)? { faults.first { $0.device == device }?.error }

  /// The pool has nothing of the disk, and so there is no device of it.
  func isLost(_ device: String) -> Bool {
    if case .lost? = fault(of: device) as? DiskError { true } else { false }
  }

  /// - Throws: what is wrong with a disk.
  func requireNoFault(of device: String) throws { if let fault = fault(of: device) { throw fault } }

  /// - Throws: why the device does not run as the catalogue says. What other tools did below an adopted disk is not looked at.
  func requireDevice(_ device: String) throws {
    guard let fault = fault(of: device), !(fault is AdoptionError) else { return }
    throw fault
  }

  /// - Throws: what is wrong with a disk; `AdoptionError` when an adopted one, or the one that a clone stands on, does not show what
  ///   the catalogue says, or its origin was written to.
  func requireSound(_ device: String) throws {
    if let fault = fault(of: device) { throw fault }
    guard let adopted = catalog.adopted(under: device), let origin = adopted.origin else { return }
    try operations.requireOurs(adopted, origin)
    try operations.requireUntouched(adopted)
  }

  /// - Throws: why epochs of a disk cannot be used. They do not need what the disk holds itself, should that be lost.
  func requireUsableEpochs(of device: String) throws {
    guard isLost(device) else { return try requireSound(device) }
    if let adopted = catalog.adopted(under: device) { try operations.requireUntouched(adopted) }
  }

  /// Makes the device of a disk that was lost and has something to show again.
  func raiseLost(_ device: String) throws {
    faults.removeAll { $0.device == device }
    if let volume = catalog.volumes.first(where: { $0.device == device }) { try bringUp(volume) }
  }
}

extension ThinPoolOperations {
  /// Takes away a device of ours. One that another program made under its name is left alone.
  func removeOurs(_ device: String, uuid: String) throws {
    if try self.info(device)?.uuid == uuid { try self.remove(device) }
  }

  /// A device that we make, nil when there is none. What a process left that died before the device had a table is taken away first.
  /// The caller holds the pool's lock, so nobody is about to make it.
  func made(_ device: String, uuid: String) throws -> DeviceInfo? {
    guard let info = try self.info(device) else { return nil }
    guard info.uuid == uuid, !info.hasLiveTable, info.openCount == 0 else { return info }
    try self.remove(device)
    return nil
  }
}
