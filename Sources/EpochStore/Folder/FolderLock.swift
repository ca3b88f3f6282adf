import Glibc

/// A lock of the store, as that of a guest's folder: exclusive for take, restore and prune, shared for readers. It is an flock,
/// so it dies with the process and never goes stale.
public final class FolderLock: Sendable {
  public enum Kind: Sendable { case exclusive, shared }

  private let file: StoreFile

  /// - Throws: `locked` at once when somebody else has it.
  package init(path: String, kind: Kind) throws(StoreError) {
    do { file = try StoreFile.open(path, O_RDWR | O_CREAT) } catch {
      // To read a store that is mounted read-only, the lock need not be writable.
      guard kind == .shared, case .system(_, _, EROFS) = error else { throw error }
      file = try StoreFile.open(path, O_RDONLY)
    }
    let operation = kind == .exclusive ? LOCK_EX : LOCK_SH
    while flock(file.descriptor, operation | LOCK_NB) != 0 {
      let number = errno
      if number == EINTR { continue }
      guard number == EWOULDBLOCK else { throw file.failed("lock", number) }
      throw .locked(path: path, pid: LockHolder.of(file))
    }
  }

  // Not by the close alone: a child that is just being started has the descriptor as well, until it becomes its program.
  deinit { flock(file.descriptor, LOCK_UN) }
}

extension GuestFolder {
  /// The process that holds the guest's lock now; nil when nobody does.
  public var lockHolder: Int32? { LockHolder.of(path + "/lock") }
}
