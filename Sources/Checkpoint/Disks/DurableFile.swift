import Glibc

/// Small files that are either the old or the new one after a crash.
enum DurableFile {
  static func read(_ path: String) throws -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
    guard descriptor >= 0 else { throw PoolError.io(operation: "open", path: path, errno: errno) }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65536)
    while true {
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw PoolError.io(operation: "read", path: path, errno: errno) }
      if count == 0 { return bytes }
      bytes.append(contentsOf: chunk[..<count])
    }
  }

  /// Writes beside `path` with mode 0600, fsyncs, renames over it, fsyncs the folder.
  ///
  /// - Parameter like: whose mode and owner it gets instead.
  static func replace(_ path: String, with bytes: [UInt8], like: stat? = nil) throws {
    let new = path + ".new"
    let descriptor = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard descriptor >= 0 else { throw PoolError.io(operation: "create", path: new, errno: errno) }
    defer { close(descriptor) }
    var done = 0
    while done < bytes.count {
      let count = bytes[done...].withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else {
        throw PoolError.io(operation: "write", path: new, errno: count == 0 ? EIO : errno)
      }
      done += count
    }
    if let like, fchown(descriptor, like.st_uid, like.st_gid) != 0 || fchmod(descriptor, like.st_mode & 0o7777) != 0 {
      throw PoolError.io(operation: "set the owner of", path: new, errno: errno)
    }
    guard fsync(descriptor) == 0 else { throw PoolError.io(operation: "fsync", path: new, errno: errno) }
    guard rename(new, path) == 0 else { throw PoolError.io(operation: "rename to", path: path, errno: errno) }
    try syncFolder(String(path[..<(path.lastIndex(of: "/") ?? path.endIndex)]))
  }

  static func syncFolder(_ path: String) throws {
    let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw PoolError.io(operation: "open", path: path, errno: errno) }
    defer { close(descriptor) }
    guard fsync(descriptor) == 0 else { throw PoolError.io(operation: "fsync", path: path, errno: errno) }
  }
}

func errnoText(_ code: Int32) -> String { String(cString: strerror(code)) }
