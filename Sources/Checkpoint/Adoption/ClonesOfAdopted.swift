import DeviceMapper

// Clones of adopted disks. A snapshot of one reads what it does not hold from the old volume as well, wherever it is shown; so the
// old volume cannot be given back while there is a clone, and a clone can be trusted as far as the adopted disk can.

extension PoolCatalog.Volume {
  /// What it has no block for is read from a volume of LVM: it is adopted, or a clone of such a disk.
  var hasOrigin: Bool { origin != nil || standsOn != nil }
}

extension PoolCatalog {
  var holdsClonesOfAdopted: Bool {
    if case .cloneEpoch(let made)? = intent?.change, made.contains(where: { $0.standsOn != nil }) { return true }
    return volumes.contains { $0.standsOn != nil }
  }

  /// The adopted disk from whose origin a disk reads: itself, or the one that it is a clone of. nil for a disk without an origin.
  func adopted(under device: String) -> Volume? {
    guard let volume = volumes.first(where: { $0.device == device }), volume.hasOrigin else { return nil }
    let base = volume.standsOn ?? volume.device
    return volumes.first { $0.device == base }
  }

  /// Epochs of a clone need the origin too, but none outlives the clone's disk: that is not removed before them.
  ///
  /// - Throws: `AdoptionError.hasClones` when disks of others read from the origin of an adopted one.
  func requireNoClones(of device: String) throws {
    let clones = volumes.filter { $0.standsOn == device }
    guard !clones.isEmpty, let adopted = self.adopted(under: device), let origin = adopted.origin else { return }
    throw AdoptionError.hasClones(
      guest: adopted.guest, vdev: adopted.vdev, volume: origin.volume,
      clones: clones.map { AdoptionError.Disk(guest: $0.guest, vdev: $0.vdev) })
  }
}

extension OpenPool {
  /// Makes a clone's device, or compares it with the catalogue. The adopted disk that it stands on was settled before: it is older, so
  /// it comes first in the catalogue.
  ///
  /// - Throws: `AdoptionError.originFaulty` when that disk is not right.
  func settleClone(_ volume: PoolCatalog.Volume) throws {
    if let adopted = catalog.adopted(under: volume.device),
      let fault = faults.first(where: { $0.device == adopted.device })
    {
      throw AdoptionError.originFaulty(
        clone: AdoptionError.Disk(guest: volume.guest, vdev: volume.vdev),
        adopted: AdoptionError.Disk(guest: adopted.guest, vdev: adopted.vdev), why: "\(fault.error)")
    }
    try activateOrCheck(volume)
  }

  /// Whether a disk can be made active now: after a boot an origin is made when its adopted disk is settled.
  func hasWhatItStandsOn(_ volume: PoolCatalog.Volume) throws -> Bool {
    try !volume.hasOrigin || operations.info(volume.originDevice) != nil
  }
}
