import EpochStore
import Glibc
import MigrationStream

extension EpochStream {
  /// What xl must find besides the disks that the epoch has snapshots of: images and devices that the guest only reads.
  ///
  /// - Parameter pools: devices of theirs need not be there before the pool is started.
  /// - Throws: ``CheckpointError/badEpoch(guest:epoch:_:)`` for one that is gone.
  func requireOtherDisks(_ pools: Pools) throws {
    let manifest = reader.manifest
    guard let (vdev, path) = config.absentDisk(besides: ownDisks, made: pools.makes) else { return }
    throw CheckpointError.badEpoch(
      guest: manifest.guest, epoch: manifest.epoch,
      "its disk \(vdev) is \(path), which is not there; put that back, or something in its place")
  }

  /// Starts the pools that have such disks, where need be: what is wrong with one keeps xl from starting the guest. The caller has no pool
  /// locked.
  ///
  /// - Throws: what is wrong with one of the disks, and whatever keeps its pool from being opened.
  func startOtherDisks(_ pools: Pools) throws { try pools.requireRight(config.paths(besides: ownDisks)) }

  /// Of which the epoch has snapshots.
  private var ownDisks: Set<String> { Set(reader.manifest.disks.filter { $0.thinID != nil }.map(\.vdev)) }
}

extension Pools {
  /// Whether the pools have a disk of this path, or an adopted one had it. False where that cannot be found out.
  fileprivate func makes(_ path: String) -> Bool {
    ((try? catalogs()) ?? []).flatMap(\.volumes).contains { $0.isAt(path) }
  }

  /// Opens the pools that have disks of these paths; others are left alone.
  ///
  /// - Throws: what is wrong with one of these disks.
  func requireRight(_ paths: [String]) throws {
    guard !paths.isEmpty else { return }
    for catalog in try catalogs() {
      let devices = catalog.volumes.filter { volume in paths.contains { volume.isAt($0) } }.map(\.device)
      guard !devices.isEmpty else { continue }
      let pool = try open(catalog.name)
      for device in devices { try pool.requireNoFault(of: device) }
    }
  }
}

extension PoolCatalog.Volume {
  fileprivate func isAt(_ path: String) -> Bool { "/dev/mapper/\(device)" == path || origin?.path == path }
}

extension XLConfig {
  /// The first disk whose file or device is not there for certain; nil when there is none.
  ///
  /// - Parameter made: whether opening a pool makes this device.
  func absentDisk(besides own: Set<String>, made: (String) -> Bool = { _ in false }) -> (vdev: String, path: String)? {
    for disk in disks where !own.contains(disk.vdev) {
      if let path = disk.pathInDom0, isAbsent(path), !made(path) { return (disk.vdev, path) }
    }
    return nil
  }

  /// Where its disks are, as far as they are in dom0.
  func paths(besides own: Set<String>) -> [String] {
    disks.filter { !own.contains($0.vdev) }.compactMap(\.pathInDom0)
  }
}

extension XLConfig.Disk {
  /// nil for an empty drive, and where only others know what the path means: a driver domain, a hotplug script, qemu (`nbd:…`).
  fileprivate var pathInDom0: String? {
    guard let path, backendDomid == 0, (backendName ?? "").isEmpty, (script ?? "").isEmpty else { return nil }
    return path.hasPrefix("/") ? path : nil
  }
}

/// Other errors, as a file server's that is away for a moment, say nothing.
private func isAbsent(_ path: String) -> Bool {
  var status = stat()
  return stat(path, &status) != 0 && (errno == ENOENT || errno == ENOTDIR)
}
