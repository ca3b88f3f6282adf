import DeviceMapper
import EpochStore
import Glibc
import MigrationStream

extension EpochStream {
  /// What xl must find besides the disks that the epoch has snapshots of: images and devices that the guest only reads.
  ///
  /// - Throws: ``CheckpointError/badEpoch(guest:epoch:_:)`` for one that is gone.
  func requireOtherDisks() throws {
    let manifest = reader.manifest
    let own = Set(manifest.disks.filter { $0.thinID != nil }.map(\.vdev))
    guard let (vdev, path) = config.absentDisk(besides: own) else { return }
    throw CheckpointError.badEpoch(
      guest: manifest.guest, epoch: manifest.epoch,
      "its disk \(vdev) is \(path), which is not there; put that back, or something in its place")
  }
}

extension XLConfig {
  /// The first disk whose file or device is not there for certain; nil when there is none.
  func absentDisk(besides own: Set<String>) -> (vdev: String, path: String)? {
    for disk in disks where !own.contains(disk.vdev) {
      if let path = disk.pathInDom0, isAbsent(path) { return (disk.vdev, path) }
    }
    return nil
  }
}

extension XLConfig.Disk {
  /// nil for an empty drive, for one of our own devices, which opening its pool makes, and where only others know what the path means:
  /// a driver domain, a hotplug script, qemu (`nbd:…`).
  fileprivate var pathInDom0: String? {
    guard let path, backendDomid == 0, (backendName ?? "").isEmpty, (script ?? "").isEmpty else { return nil }
    return path.hasPrefix("/") && !path.hasPrefix("/dev/mapper/\(DeviceName.namePrefix)") ? path : nil
  }
}

/// Other errors, as a file server's that is away for a moment, say nothing.
private func isAbsent(_ path: String) -> Bool {
  var status = stat()
  return stat(path, &status) != 0 && (errno == ENOENT || errno == ENOTDIR)
}
