import DeviceMapper
import EpochStore

/// Where the disks of a guest belong in this store's pools, and which names are somebody else's.
struct DiskHomes {
  private let catalogs: [PoolCatalog]
  private let guestUUID: String
  private let file: String

  init(_ catalogs: [PoolCatalog], guestUUID: String, file: String) {
    (self.catalogs, self.guestUUID, self.file) = (catalogs, guestUUID, file)
  }

  /// The device that an imported disk is restored to: called as where it comes from, if that is a name of ours.
  func device(of disk: DiskEpoch, guest: String) throws -> String {
    let old = disk.device.hasPrefix("/dev/mapper/") ? String(disk.device.dropFirst("/dev/mapper/".count)) : ""
    let suffix = "-\(disk.vdev)"
    if old.hasPrefix(DeviceName.namePrefix), old.hasSuffix(suffix) {
      let name = old.dropFirst(DeviceName.namePrefix.count).dropLast(suffix.count)
      if (try? Disks.deviceName(guest: String(name), vdev: disk.vdev)) == old { return old }
    }
    return try Disks.deviceName(guest: guest, vdev: disk.vdev)
  }

  /// The pool that has the device, or epochs of it; nil when no pool has.
  ///
  /// - Throws: ``CarryError/disk(file:device:_:)`` when they are another guest's, or of another size.
  func pool(of device: String, size: UInt64) throws -> String? {
    func refused(_ why: String) -> CarryError { .disk(file: file, device: "/dev/mapper/\(device)", why) }
    for catalog in catalogs {
      let epochs = catalog.epochs.filter { $0.device == device }
      let volume = catalog.volumes.first { $0.device == device }
      guard volume != nil || !epochs.isEmpty else { continue }
      guard epochs.contains(where: { $0.guestUUID == guestUUID }), epochs.allSatisfy({ $0.guestUUID == guestUUID })
      else { throw refused("there is a disk of this name, and no epoch of this guest is restored to it") }
      if let volume, volume.sizeSectors * 512 != size {
        throw refused("it has \(volume.sizeSectors * 512) bytes here, and \(size) in the file")
      }
      return catalog.name
    }
    return nil
  }
}
