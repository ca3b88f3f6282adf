public import DeviceMapper

/// Why no disk was made of another one. That one is as it was, and no disk is left.
public enum DiskSourceError: ErrorWithStatus, Equatable, CustomStringConvertible {
  case cannotRead(path: String, why: String)
  /// Bytes; a disk has whole sectors of 512.
  case badSize(path: String, bytes: UInt64)
  case image(path: String, ImageFormat)
  /// It is a guest's disk in the very pool that the copy goes to, or another device that was made for a pool.
  case inPool(path: String)
  /// It is a guest's adopted disk, by whichever of its devices.
  case adopted(path: String, guest: String, vdev: String)
  /// It is a disk in another pool, and the copy was to bear its name.
  case ownName(path: String, guest: String, vdev: String, pool: String)
  case inUse(path: String, why: String)
  /// The guest has learnt how many bytes can be read and written at a time.
  case sectors(path: String, bytes: Int, ofPool: Int)
  /// What was written and what is read back are not the same, from this byte on or a little later.
  case differs(path: String, offset: UInt64)
  case interrupted(path: String)

  public var exitStatus: ExitStatus {
    switch self {
    case .cannotRead, .badSize, .image, .inPool, .adopted, .ownName, .sectors: .badConfiguration
    case .inUse: .locked
    case .differs: .failed
    case .interrupted: .interrupted
    }
  }

  public var description: String {
    switch self {
    case .cannotRead(let path, let why): "\(path): \(why); no disk was made"
    case .badSize(let path, let bytes):
      "\(path): it has \(bytes) bytes; a disk has whole sectors of 512 bytes, and 16 TiB at most; no disk was made"
    case .image(let path, let format):
      "\(path): it is a \(format.rawValue) image, no raw disk; convert it: qemu-img convert -O raw \(path) \(path).raw, then name "
        + "that; no disk was made"
    case .inPool(let path):
      "\(path): it is a disk in a pool already; a guest's disk can be copied into another pool (--pool); "
        + "see: ckpt disk list; no disk was made"
    case .adopted(let path, let guest, let vdev):
      "\(path): it is an adopted disk; shut the guest down and give it back to LVM: ckpt release \(guest) \(vdev); "
        + "ckpt adopt --pool brings it into another pool then; no disk was made"
    case .ownName(let path, let guest, let vdev, let pool):
      "\(path): its copy cannot have its name; call that as if of another guest, the guest itself keeps its name: "
        + "ckpt disk create \(guest)-2 \(vdev) --from \(path) --pool \(pool); no disk was made"
    case .inUse(let path, let why): "\(path): it is in use: \(why); no disk was made"
    case .sectors(let path, let bytes, let ofPool):
      "\(path): its sectors have \(bytes) bytes, those of the pool \(ofPool), which the guest would not understand; "
        + "use a pool on devices with sectors of \(bytes) bytes (--pool; ckpt pool create); no disk was made"
    case .differs(let path, let offset):
      "\(path): the copy is not the same behind byte \(offset): it was written to meanwhile, or a disk failed (dmesg); "
        + "no disk was made"
    case .interrupted(let path): "interrupted; no disk was made, \(path) is as it was"
    }
  }
}
