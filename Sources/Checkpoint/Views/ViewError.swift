import Glibc

/// What stands between a user and the disk of an epoch. The epoch itself is never changed.
public enum ViewError: Error, Equatable, CustomStringConvertible {
  /// The epoch has no such disk.
  case noDisk(vdev: String, epoch: Int, known: [String])
  /// The guest could not write to the disk, or the epoch came from a file of `xl save`, so there is no snapshot of it.
  case noSnapshot(vdev: String, device: String)
  /// Where it is to be mounted there is no folder.
  case noFolder(String)
  case exists(guest: String, vdev: String, epoch: Int, device: String)
  case notMounted(guest: String, epoch: Int, vdev: String)
  /// The disk does not mount; its device is gone again.
  case cannotMount(vdev: String, why: String, instead: String)
  /// Somebody uses the device, or a file in it.
  case inUse(device: String, why: String)
  /// Epochs that are to be removed, and are mounted.
  case epochsMounted(guest: String, epochs: [Int])

  public var description: String {
    switch self {
    case .noDisk(let vdev, let epoch, let known):
      "epoch \(epoch) has no disk \(vdev); it has \(known.isEmpty ? "none" : known.joined(separator: ", "))"
    case .noSnapshot(let vdev, let device):
      "the epoch has no snapshot of disk \(vdev), which was read-only, or not in the file of xl save that it came from; "
        + "look at \(device) itself"
    case .noFolder(let path): "\(path): no such folder; make it first; nothing was changed"
    case .exists(let guest, let vdev, let epoch, let device):
      "disk \(vdev) of epoch \(epoch) is there already: \(device); take it away first: ckpt umount \(guest) \(epoch) \(vdev)"
    case .notMounted(let guest, let epoch, let vdev):
      "disk \(vdev) of epoch \(epoch) of '\(guest)' is not mounted; `ckpt mount` shows what is"
    case .cannotMount(let vdev, let why, let instead):
      "disk \(vdev) cannot be mounted: \(why); nothing is left behind; \(instead)"
    case .inUse(let device, let why):
      "\(device) is in use: \(why); end what uses it (fuser -vm), then run the same command again"
    case .epochsMounted(let guest, let epochs):
      "guest '\(guest)': \(epochs.count == 1 ? "epoch" : "epochs") \(epochs.map(String.init).joined(separator: ", ")) "
        + "\(epochs.count == 1 ? "is" : "are") mounted, so nothing was removed; run `ckpt mount` to see, ckpt umount --all to end it"
    }
  }

}

extension ViewError: ErrorWithStatus {
  public var exitStatus: ExitStatus {
    switch self {
    case .noDisk, .notMounted: .notFound
    case .noSnapshot, .noFolder: .badConfiguration
    case .exists, .inUse, .epochsMounted: .locked
    case .cannotMount: .failed
    }
  }
}
