import Glibc

/// A file of a few KiB that is read and replaced as a whole, for what the store's folder holds beside guests.
package enum SmallFile {
  /// The content; nil when there is no such file.
  ///
  /// - Throws: `damaged` for a file above `limit` bytes, and for what is no regular file.
  package static func read(_ path: String, limit: UInt64 = 1 << 20) throws(StoreError) -> [UInt8]? {
    let file: StoreFile
    do { file = try StoreFile.open(path, O_RDONLY) } catch {
      if case .system(_, _, ENOENT) = error { return nil }
      throw error
    }
    let size = try file.regularSize()
    guard size <= limit else { throw .damaged(path: path, what: "it is larger than \(limit) bytes") }
    return try file.read(count: Int(size), at: 0)
  }

  /// Writes the file with mode 0600 so that a crash leaves the old one or the new one: partial, fsync, rename, fsync folder.
  package static func replace(_ path: String, with bytes: [UInt8]) throws(StoreError) {
    let partial = path + EpochName.partial
    try StoreName.remove(partial)
    do {
      let file = try StoreFile.open(partial, O_WRONLY | O_CREAT | O_EXCL)
      try file.write(bytes, at: 0)
      try file.sync()
      try StoreName.rename(partial, to: path)
    } catch {
      _ = try? StoreName.remove(partial)
      throw error
    }
    try StoreName.syncFolder(String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)]))
  }

  /// Waits for its turn among all who work on a folder through this, and holds it during `body`.
  package static func inTurn<Value>(folder: String, _ body: () throws -> Value) throws -> Value {
    let turn = try StoreFile.open(folder, O_RDONLY | O_DIRECTORY)
    while flock(turn.descriptor, LOCK_EX) != 0 { if errno != EINTR { throw turn.failed("lock", errno) } }
    return try withExtendedLifetime(turn) { try body() }
  }
}
