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
  /// - Parameter like: whose mode and owner it gets instead: a file of somebody else, in a folder with others of his.
  static func replace(_ path: String, with bytes: [UInt8], like: stat? = nil) throws {
    let (new, flags) = like == nil ? (path + ".new", O_TRUNC) : (unusedName(beside: path), O_EXCL)
    let descriptor = open(new, O_WRONLY | O_CREAT | flags | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard descriptor >= 0 else { throw PoolError.io(operation: "create", path: new, errno: errno) }
    defer { close(descriptor) }
    do {
      try write(bytes, to: descriptor, new, like)
      guard rename(new, path) == 0 else { throw PoolError.io(operation: "rename to", path: path, errno: errno) }
    } catch {
      unlink(new)
      throw error
    }
    try syncFolder(String(path[..<(path.lastIndex(of: "/") ?? path.endIndex)]))
  }

  /// What a crash leaves of it is hidden, so that nobody who reads all files of a folder (`/etc/xen/auto`) takes it for one of them.
  private static func unusedName(beside path: String) -> String {
    let start = path.lastIndex(of: "/").map { path.index(after: $0) } ?? path.startIndex
    return "\(path[..<start]).\(path[start...]).\(String(UInt64.random(in: 0...UInt64.max), radix: 16)).ckpt"
  }

  private static func write(_ bytes: [UInt8], to descriptor: Int32, _ path: String, _ like: stat?) throws {
    var done = 0
    while done < bytes.count {
      let count = bytes[done...].withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else {
        throw PoolError.io(operation: "write", path: path, errno: count == 0 ? EIO : errno)
      }
      done += count
    }
    if let like, fchown(descriptor, like.st_uid, like.st_gid) != 0 || fchmod(descriptor, like.st_mode & 0o7777) != 0 {
      throw PoolError.io(operation: "set the owner of", path: path, errno: errno)
    }
    guard fsync(descriptor) == 0 else { throw PoolError.io(operation: "fsync", path: path, errno: errno) }
  }

  static func syncFolder(_ path: String) throws {
    let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw PoolError.io(operation: "open", path: path, errno: errno) }
    defer { close(descriptor) }
    guard fsync(descriptor) == 0 else { throw PoolError.io(operation: "fsync", path: path, errno: errno) }
  }
}

func errnoText(_ code: Int32) -> String { String(cString: strerror(code)) }
