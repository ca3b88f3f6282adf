public import EpochStore

/// Why an epoch cannot be carried to or from a file. What was there before is as it was.
public enum CarryError: ErrorWithStatus, Equatable, CustomStringConvertible {
  // Export.
  case notOlder(guest: String, epoch: Int, base: Int)
  /// An export that broke off; what is written can be used again.
  case stopped(file: String, cause: String, status: ExitStatus = .failed)
  case cannotResume(file: String, String)

  // Import.
  case bundle(file: String, BundleError)
  case notKnown(file: String)
  /// The bundle is whole, but does not make what it says.
  case nonsense(file: String, String)
  case noBase(file: String, guest: String, epoch: Int, base: Int)
  case otherBase(file: String, guest: String, base: Int)
  case damagedBase(file: String, guest: String, base: Int)
  case otherEpoch(file: String, guest: String, epoch: Int)
  /// The same epoch is here, and is not what it was.
  case damagedHere(file: String, guest: String, epoch: Int, String)
  case numberInUse(file: String, guest: String, epoch: Int)
  /// A disk of the epoch cannot be made here.
  case disk(file: String, device: String, String)
  case cannotHold(file: String, String)
  case legacy(file: String, String)
  case damagedAfterwards(guest: String, epoch: Int, String)

  public var exitStatus: ExitStatus {
    switch self {
    case .noBase: .notFound
    case .stopped(_, _, let status): status
    case .notOlder, .cannotResume, .otherEpoch, .otherBase, .disk, .numberInUse, .cannotHold, .legacy, .notKnown:
      .badConfiguration
    default: .failed
    }
  }

  public var description: String {
    switch self {
    case .notOlder(let guest, let epoch, let base):
      "guest '\(guest)': epoch \(epoch) cannot be carried as changes since epoch \(base), which is not older; name an older one"
    case .stopped(let file, let cause, _):
      "\(cause); \(file) is not complete; run the same command with --resume to go on with it"
    case .cannotResume(let file, let why): "\(file) cannot be gone on with: \(why); export to another file"
    case .bundle(let file, .notABundle): Self.unknown(file)
    case .bundle(let file, let error):
      "\(file): \(error); nothing was imported; "
        + "export it again with --resume, which keeps what is sound, or carry it again"
    case .notKnown(let file): Self.unknown(file)
    case .nonsense(let file, let what): "\(file): \(what); nothing was imported; export it again"
    case .noBase(let file, let guest, let epoch, let base):
      "\(file): epoch \(epoch) of '\(guest)' comes as changes since its epoch \(base), which this store does not have; "
        + "import epoch \(base) first, or export \(epoch) without --since"
    case .otherBase(let file, let guest, let base):
      "\(file): its epoch comes as changes since epoch \(base) of '\(guest)', and epoch \(base) of this store is another one; "
        + "nothing was imported; export it without --since"
    case .damagedBase(let file, let guest, let base):
      "\(file): it builds on epoch \(base) of '\(guest)', which is damaged in this store; nothing was imported; "
        + "run `ckpt verify \(guest) \(base) --full`, or export it without --since"
    case .otherEpoch(let file, let guest, let epoch):
      "\(file): this store has another epoch \(epoch) of '\(guest)'; nothing was imported; remove that one first if it may go"
    case .damagedHere(let file, let guest, let epoch, let what):
      "\(file): epoch \(epoch) of '\(guest)' is here and damaged: \(what); nothing was imported; "
        + "remove it (ckpt remove \(guest) \(epoch)), then import again"
    case .numberInUse(let file, let guest, let epoch):
      "\(file): younger epochs of '\(guest)' still need a file of a removed epoch \(epoch); nothing was imported; "
        + "import into another store"
    case .disk(let file, let device, let why): "\(file): disk \(device): \(why); nothing was imported"
    case .cannotHold(let file, let why): "\(file): \(why); nothing was imported"
    case .legacy(let file, let why): "\(file): it was saved by a Xen before 4.6: \(why); nothing was imported"
    case .damagedAfterwards(let guest, let epoch, let what):
      "epoch \(epoch) of '\(guest)' is not what was imported: \(what); it was removed again; check the store's disk (dmesg)"
    }
  }

  private static func unknown(_ file: String) -> String {
    "\(file): it is neither a bundle nor a file of `xl save`; nothing was imported"
  }
}
