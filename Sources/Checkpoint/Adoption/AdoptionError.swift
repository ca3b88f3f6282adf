import Xen

/// Why a disk cannot be adopted or released, and what to do.
public enum AdoptionError: Error, Equatable, CustomStringConvertible {
  /// The disk is not one that can be moved under a running guest; nothing was changed.
  case notAdoptable(guest: String, vdev: String, path: String, Obstacle)
  case noSuchDisk(guest: String, vdev: String, known: [String])
  /// The guest has no writable disk.
  case noDisks(guest: String)
  /// None of the guest's disks was adopted.
  case notAdopted(guest: String)
  /// Somebody has the disk open; nothing was changed.
  case inUse(guest: String, vdev: String, path: String)
  /// An epoch's disk is mounted or being carried; nothing was changed. `uuid`: of the guest whose epoch it is.
  case epochInUse(guest: String, vdev: String, device: String, uuid: String, epoch: Int)
  /// Another tool put its own table over ours, and somebody uses it.
  case replaced(guest: String, vdev: String, volume: String, found: String)
  /// Somebody wrote to the old volume since the adoption, or used it while another tool's table stood over ours.
  case originChanged(guest: String, vdev: String, volume: String)
  /// An adopted disk is not removed, but released.
  case isAdopted(guest: String, vdev: String, volume: String)
  /// Disks of clones read from the old volume, too; nothing was changed.
  case hasClones(guest: String, vdev: String, volume: String, clones: [Disk])
  /// What keeps an adopted disk from being right keeps a clone of it as well.
  case originFaulty(clone: Disk, adopted: Disk, why: String)
  /// A release was begun and did not come to its end.
  case releasing(guest: String, vdev: String)
  /// The volume's device is not there, or is another one.
  case volumeGone(volume: String, why: String)

  /// A disk of a guest.
  public struct Disk: Equatable, Sendable {
    public var guest: String
    public var vdev: String

    fileprivate var text: String { "\(vdev) of \(guest)" }
    fileprivate var removal: String { "ckpt disk remove \(guest) \(vdev)" }
  }

  /// What stands in the way.
  public enum Obstacle: Equatable, Sendable {
    /// Its backend is a process (qemu, tapdisk) or a driver domain.
    case noBlockBackend
    case loopFile
    /// A partition or a whole disk: no device-mapper device.
    case noMapping
    /// A device-mapper device that LVM does not own.
    case notLVM(uuid: String)
    /// A volume whose table cannot stand twice: RAID, cache, with classic snapshots.
    case kind(String)
    case shared(openers: Int)
    /// The guest has learnt how many bytes can be read and written at a time.
    case sectors(bytes: Int, ofPool: Int)
    /// Epochs that came from another host have a disk of this name, which was not made here yet.
    case imported(uuid: String, epochs: [Int])

    /// - Parameter copy: what to do instead.
    fileprivate func text(orElse copy: String) -> String {
      switch self {
      case .noBlockBackend:
        return "a process (qemu, tapdisk) or another domain serves it, no block device of this host; \(copy)"
      case .loopFile: return "it is a file behind a loop device; \(copy)"
      case .noMapping:
        return "it is a partition or a whole disk, which cannot be moved while it is in use; \(copy)"
      case .notLVM(let uuid):
        return "its device is no volume of LVM (uuid '\(uuid)'); \(copy)"
      case .kind(let type):
        return "its volume is of LVM's type '\(type)'; only linear, striped and thin ones can be adopted: convert it "
          + "(lvconvert), or \(copy)"
      case .sectors(let bytes, let ofPool):
        return "its sectors have \(bytes) bytes, those of the pool \(ofPool), which the guest would not understand; "
          + "use a pool on devices with sectors of \(bytes) bytes (--pool; ckpt pool create)"
      case .imported(let uuid, let epochs):
        return "epochs that were imported are restored to the disk that it would become, and are whole; remove them "
          + "first: ckpt remove \(uuid) \(epochs.sorted().prefix(8).map(String.init).joined(separator: " "))"
      case .shared(let openers):
        return
          "\(openers) users have it open, the guest should be the only one; unmount it, or detach it from the other guest"
      }
    }
  }

  private static func copy(_ guest: String, _ vdev: String, _ path: String) -> String {
    "shut the guest down, copy the disk: ckpt disk create \(guest) \(vdev) --from \(GuestDevices.path(in: path)), and name the "
      + "one that this prints in the guest's configuration"
  }

  public var description: String {
    switch self {
    case .notAdoptable(let guest, let vdev, let path, let obstacle):
      "disk \(vdev) (\(path)) of \(guest) cannot be adopted: \(obstacle.text(orElse: Self.copy(guest, vdev, path))); "
        + "nothing was changed"
    case .noSuchDisk(let guest, let vdev, let known):
      "guest \(guest) has no writable disk '\(vdev)'; it has \(known.isEmpty ? "none" : known.joined(separator: ", "))"
    case .noDisks(let guest): "guest \(guest) has no writable disk"
    case .notAdopted(let guest):
      "guest \(guest): no disk of it was adopted; `ckpt disk list` shows those that were"
    case .inUse(let guest, let vdev, let path):
      "disk \(vdev) (\(path)) of \(guest) is in use; shut the guest down (xl shutdown \(guest)) and release it then; nothing "
        + "was changed"
    case .epochInUse(let guest, let vdev, let device, let uuid, let epoch):
      "disk \(vdev) of \(guest): \(device) shows an epoch of it, which goes with the release; take it away first: ckpt umount "
        + "\(uuid) \(epoch) \(vdev), or `ckpt recover` where an export was killed; nothing was changed"
    case .replaced(let guest, let vdev, let volume, let found):
      "DISK \(vdev) OF \(guest) IS NOT OURS ANY MORE: another tool (lvchange --refresh, lvresize, pvmove, lvcreate -s) put its own "
        + "table over \(volume): '\(found)'; who uses it reads what it held when it was adopted, and writes past the pool "
        + "into what all epochs read; destroy the guest at once (xl destroy \(guest)); what was written past the pool is in the volume: "
        + "ckpt release \(guest) \(vdev) --discard keeps that as it is, and gives up the disk and its epochs"
    case .originChanged(let guest, let vdev, let volume):
      "disk \(vdev) of \(guest): \(volume) was written to since it was adopted, or used past the pool, so neither the disk nor its epochs "
        + "nor clones of them can be trusted; nothing was changed; to give up what the pool has of it and keep the volume as it is: "
        + "ckpt release \(guest) \(vdev) --discard"
    case .isAdopted(let guest, let vdev, let volume):
      "disk \(vdev) of \(guest) is adopted and stands on \(volume), so it cannot be removed; nothing was changed; "
        + "to give it back to LVM: ckpt release \(guest) \(vdev)"
    case .hasClones(let guest, let vdev, let volume, let clones):
      "disk \(vdev) of \(guest): clones read from \(volume) what they have not written: "
        + "\(clones.map(\.text).joined(separator: ", ")); nothing was changed; remove their disks first: "
        + clones.map(\.removal).joined(separator: "; ")
    case .originFaulty(let clone, let adopted, let why):
      "disk \(clone.text) is a clone's and reads from the same volume as \(adopted.text): \(why)"
    case .releasing(let guest, let vdev):
      "disk \(vdev) of \(guest): its release was begun; end it first: ckpt release \(guest) \(vdev)"
    case .volumeGone(let volume, let why): "volume \(volume): \(why)"
    }
  }
}
