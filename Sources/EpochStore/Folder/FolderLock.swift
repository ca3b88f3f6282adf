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
    // The folder was removed meanwhile: who comes next makes another file, and would have a lock as well.
    guard try file.status().st_nlink > 0 else { throw .locked(path: path, pid: nil) }
  }

  // Not by the close alone: a child that is just being started has the descriptor as well, until it becomes its program.
  deinit { flock(file.descriptor, LOCK_UN) }
}

extension GuestFolder {
  /// Takes the guest's lock as soon as whoever has it lets go.
  ///
  /// - Parameters:
  ///   - seconds: to wait before `locked`.
  ///   - mayGoOn: called again and again meanwhile; ends the wait by throwing.
  public func lock(_ kind: FolderLock.Kind, wait seconds: Double, _ mayGoOn: () throws -> Void) throws -> FolderLock {
    let end = ContinuousClock.now + .seconds(seconds)
    while true {
      do { return try lock(kind) } catch {
        guard case .locked = error, ContinuousClock.now < end else { throw error }
      }
      try mayGoOn()
      usleep(20_000)
    }
  }

  /// The process that holds the guest's lock now; nil when nobody does.
  public var lockHolder: Int32? { LockHolder.of(path + "/lock") }
}
