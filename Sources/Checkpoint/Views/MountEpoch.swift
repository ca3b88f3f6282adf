import DeviceMapper
public import EpochStore
import Glibc

extension Engine {
  /// Shows a disk of an epoch as a block device, and mounts it read-only if a folder is given.
  ///
  /// Without a folder the device is the epoch's own snapshot, read-only and bit for bit. With one it is a snapshot of that, thrown away by
  /// ``unmount(_:)``: the file system was in use when the epoch was taken, and what its journal holds must be replayed, as after a crash.
  ///
  /// - Throws: ``ViewError``; nothing is left behind then.
  public func mount(_ guest: String, epoch: EpochReference, disk: String, at folder: String?) throws -> EpochView {
    let store = try self.folder(of: guest)
    let lock = try store.lock(.shared)
    defer { _ = lock }
    let manifest = try store.manifest(resolve(epoch, in: store, of: guest))
    if let folder { try Self.requireFolder(folder) }
    let views = EpochViews(pools: try pools())
    var view = try views.make(folder == nil ? .whole : .scratch, disk, of: manifest)
    guard let folder else { return view }
    do {
      try Self.mount(view, at: folder)
    } catch {
      // The first error is the one to report; recover finds what could not be taken away.
      try? views.remove(view)
      throw error
    }
    view.mounts = [folder]
    return view
  }

  private static func requireFolder(_ path: String) throws {
    var status = stat()
    guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else { throw ViewError.noFolder(path) }
  }

  private static func mount(_ view: EpochView, at folder: String) throws {
    let signature = try DeviceSignature.of(view.path)
    // Nothing in a guest's file system may act in dom0. XFS refuses a second file system with the same uuid.
    let options = "ro,nosuid,nodev,noexec" + (signature == .xfs ? ",nouuid" : "")
    do { try Command.run(["mount", "-o", options, "--", view.path, folder]) } catch CheckpointError.tool(
      _, _, let message)
    {
      let parts = signature == .partitionTable || signature == .lvm || signature == .luks || signature == .mdRaid
      throw ViewError.cannotMount(
        vdev: view.vdev, why: parts ? "it holds \(signature?.rawValue ?? "")" : message,
        instead: instead(of: view, signature))
    }
  }

  /// How to come at what is on a disk that does not mount. `losetup` comes with `mount` itself.
  static func instead(of view: EpochView, _ signature: DeviceSignature?) -> String {
    let device = "without --at it is there as a block device"
    guard signature == .partitionTable else { return device }
    return device + ", and then its partitions by: losetup -fP --show -r \(view.path)"
  }

  /// The disks of epochs that are there as devices, and where they are mounted.
  public func mounted() throws -> [EpochView] {
    _ = try existingStore()
    return try EpochViews(pools: pools()).list().filter { $0.kind != .carried }
  }

  /// Unmounts a disk of an epoch wherever it is mounted, and takes its device away.
  ///
  /// - Throws: ``ViewError/inUse(device:why:)``: what could be unmounted is, the device is still there.
  public func unmount(_ view: EpochView) throws {
    for point in view.mounts.reversed() {
      do { try Command.run(["umount", "--", point]) } catch CheckpointError.tool(_, _, let message) {
        throw ViewError.inUse(device: view.path, why: message)
      }
    }
    try EpochViews(pools: pools()).remove(view)
  }

  /// The view of one disk.
  ///
  /// - Throws: ``ViewError/notMounted(guest:epoch:vdev:)``.
  public func mounted(_ guest: String, epoch: EpochReference, disk: String) throws -> EpochView {
    let folder = try folder(of: guest)
    let number = try resolve(epoch, in: folder, of: guest)
    let views = try mounted().filter { $0.guestUUID == folder.uuid && $0.epoch == number && $0.vdev == disk }
    guard let view = views.first else { throw ViewError.notMounted(guest: guest, epoch: number, vdev: disk) }
    return view
  }
}
