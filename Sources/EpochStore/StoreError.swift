import Glibc

/// What can go wrong in the store. Every message is one line: what, where, what to do.
public enum StoreError: Error, Equatable, Sendable, CustomStringConvertible {
  /// A system call on a file or folder of the store failed; `errno` is the kernel's number.
  case system(operation: String, path: String, errno: Int32)
  /// The reserve of a new epoch does not fit. Sizes in bytes.
  case full(needed: UInt64, available: UInt64, path: String)
  /// Another take, restore or prune holds the guest's folder; `pid` when the kernel tells it.
  case locked(path: String, pid: Int32?)
  /// Stored bytes are not what was written, or not what the format allows.
  case damaged(path: String, what: String)
  /// The file follows a format that this version does not know.
  case otherFormat(path: String, version: Int)
  /// No such guest, epoch or folder.
  case notFound(String)
  /// The epoch's number was used before: numbers are never reused.
  case exists(path: String, epoch: Int)
  /// A retention policy would leave nothing that can be restored, of so many epochs.
  case policyRemovesAll(epochs: Int)
  /// Somebody asked to stop; what was done until then holds.
  case stopped
  /// The caller broke a rule of the interface (bad uuid, pages out of order, a writer used after its end).
  case invalid(String)

  public var description: String {
    switch self {
    case .system(let operation, let path, let number):
      return "cannot \(operation) \(path): \(Self.text(of: number)) (errno \(number))\(Self.advice(for: number))"
    case .full(let needed, let available, let path):
      return "no room for the epoch in \(path): it may need \(needed) bytes and \(available) are free;"
        + " prune older epochs or enlarge the file system"
    case .locked(let path, let pid):
      let holder = pid.map { "process \($0)" } ?? "another process"
      return "\(path) is locked by \(holder); wait for it to end and try again"
    case .damaged(let path, let what):
      return "\(path) is damaged: \(what); restore another epoch"
    case .otherFormat(let path, let version):
      return "\(path) has format \(version), this ckpt reads \(EpochFormat.version); use the ckpt that wrote it"
    case .notFound(let what):
      return "\(what) does not exist; list what the store holds"
    case .exists(let path, let epoch):
      return "epoch \(epoch) was used before in \(path); take the next number"
    case .policyRemovesAll(let epochs):
      return
        "the policy would remove all epochs that could be restored (\(epochs)); nothing was changed; add --keep-last 1"
    case .stopped:
      return "it was told to stop"
    case .invalid(let what):
      return what
    }
  }

  /// True for what is wrong with the stored bytes themselves: the epoch is lost until they are put back. Anything else, as a
  /// lack of permission, says nothing about them.
  var isDamage: Bool {
    switch self {
    case .damaged: true
    case .system(_, _, let number): [EIO, EILSEQ, EBADMSG, EUCLEAN, ELOOP, EISDIR, ENXIO].contains(number)
    default: false
    }
  }

  private static func text(of number: Int32) -> String {
    guard let text = strerror(number) else { return "unknown error" }
    return String(cString: text)
  }

  private static func advice(for number: Int32) -> String {
    switch number {
    case ENOSPC, EDQUOT: return "; prune older epochs or enlarge the file system"
    case EFBIG: return "; raise the file size limit (ulimit -f)"
    case EACCES, EPERM: return "; run as the owner of the store"
    case EROFS: return "; mount the file system writable"
    case EIO: return "; check the disk (dmesg)"
    case EUCLEAN: return "; check the file system (dmesg, fsck)"
    default: return ""
    }
  }
}
