import Glibc

/// That a release copies, without the pool's lock: an flock, which dies with the process. One of a pool at a time.
final class ReleaseMark {
  private let descriptor: Int32

  /// Takes it. The caller holds the pool's lock.
  ///
  /// - Throws: `PoolError.locked` while another release has it.
  convenience init(_ folder: PoolFolder) throws { try self.init(folder, creating: true) }

  private init(_ folder: PoolFolder, creating: Bool) throws {
    let path = folder.path + "/release"
    descriptor = open(path, O_RDWR | (creating ? O_CREAT : 0) | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard descriptor >= 0 else { throw PoolError.io(operation: "open", path: path, errno: errno) }
    try takeFlock(descriptor, path, pool: folder.name, wait: 0) {}
  }

  deinit {
    guard descriptor >= 0 else { return }
    flock(descriptor, LOCK_UN)
    close(descriptor)
  }

  /// Whoever opens the pool from now on settles what was begun.
  func letGo() { flock(descriptor, LOCK_UN) }

  /// Whether a release that lives has it. The caller holds the pool's lock.
  ///
  /// - Throws: `PoolError.io` when that cannot be told.
  static func isTaken(_ folder: PoolFolder) throws -> Bool {
    do { _ = try ReleaseMark(folder, creating: false) } catch PoolError.locked {
      return true
    } catch PoolError.io(_, _, ENOENT) {}
    return false
  }
}
