public import DeviceMapper

/// Why no disk was made of another one. That one is as it was, and no disk is left.
public enum DiskSourceError: ErrorWithStatus, Equatable, CustomStringConvertible {
  case cannotRead(path: String, why: String)
  /// Bytes; a disk has whole sectors of 512.
  case badSize(path: String, bytes: UInt64)
  case image(path: String, ImageFormat)
  /// It is a guest's disk in a pool of ours, by whichever of its devices.
  case inPool(path: String)
  case inUse(path: String, why: String)
  /// The guest has learnt how many bytes can be read and written at a time.
  case sectors(path: String, bytes: Int, ofPool: Int)
  /// What was written and what is read back are not the same, from this byte on or a little later.
  case differs(path: String, offset: UInt64)
  case interrupted(path: String)

  public var exitStatus: ExitStatus {
    switch self {
    case .cannotRead, .badSize, .image, .inPool, .sectors: .badConfiguration
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
    case .inPool(let path): "\(path): it is a disk in a pool already; see: ckpt disk list; no disk was made"
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
