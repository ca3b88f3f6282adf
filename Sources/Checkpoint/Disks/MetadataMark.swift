import Glibc

/// A file in a pool's folder. What stands in it says that the pool's metadata snapshot is ours; its flock, which dies with the process,
/// that somebody still reads it.
final class MetadataMark {
  private let descriptor: Int32
  private let path: String

  /// Takes it. Not while the pool is locked: whoever has it needs the pool.
  ///
  /// - Parameters: as ``PoolFolder/lock(wait:_:)`` has them.
  ///   - creating: makes the file where there is none.
  /// - Throws: `PoolError.locked` while another has it.
  init(_ folder: PoolFolder, creating: Bool, wait: Double, _ mayGoOn: () throws -> Void = {}) throws {
    path = folder.path + "/metadata-snapshot"
    descriptor = open(path, O_RDWR | (creating ? O_CREAT : 0) | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard descriptor >= 0 else { throw PoolError.io(operation: "open", path: path, errno: errno) }
    try takeFlock(descriptor, path, pool: folder.name, wait: wait, mayGoOn)
  }

  deinit {
    guard descriptor >= 0 else { return }
    flock(descriptor, LOCK_UN)
    close(descriptor)
  }

  static func isTaken(_ folder: PoolFolder) -> Bool {
    do { _ = try MetadataMark(folder, creating: false, wait: 0) } catch PoolError.locked { return true } catch {}
    return false
  }

  /// A snapshot is, or is about to be, held by us.
  var isSet: Bool {
    get throws {
      var status = stat()
      guard fstat(descriptor, &status) == 0 else { throw PoolError.io(operation: "examine", path: path, errno: errno) }
      return status.st_size > 0
    }
  }

  func set() throws {
    guard pwrite(descriptor, "1", 1, 0) == 1, fsync(descriptor) == 0 else {
      throw PoolError.io(operation: "write", path: path, errno: errno)
    }
  }

  func clear() { ftruncate(descriptor, 0) }
}
