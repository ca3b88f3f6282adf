import DeviceMapper

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

  func activateVolumes() throws {
    for volume in catalog.volumes {
      guard volume.hasOrigin else {
        try activateOrCheck(volume)
        continue
      }
      do {
        if let origin = volume.origin { try settle(volume, origin) } else { try settleClone(volume) }
      } catch let error as AdoptionError {
        faults.append((volume.device, error))
      } catch let error as DeviceMapperError {
        faults.append((volume.device, error))
      }
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
  func activate(_ volume: PoolCatalog.Volume) throws {
    if volume.origin != nil { try makeOrigin(of: volume) }
    try operations.create(
      volume.device, uuid: catalog.uuid(of: volume), table: [table(of: volume)], readOnly: false)
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

extension ThinPoolOperations {
  /// A device that we make, nil when there is none. What a process left that died before the device had a table is taken away first.
  /// The caller holds the pool's lock, so nobody is about to make it.
  func made(_ device: String, uuid: String) throws -> DeviceInfo? {
    guard let info = try self.info(device) else { return nil }
    guard info.uuid == uuid, !info.hasLiveTable, info.openCount == 0 else { return info }
    try self.remove(device)
    return nil
  }
}
