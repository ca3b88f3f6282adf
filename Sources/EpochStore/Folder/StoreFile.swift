import CLinux
import Glibc

/// One open file or folder; closes itself. Everything here retries EINTR and finishes short transfers.
final class StoreFile: Sendable {
  let path: String
  let descriptor: Int32

  private init(path: String, descriptor: Int32) {
    self.path = path
    self.descriptor = descriptor
  }

  deinit { close(descriptor) }

  /// O_NOFOLLOW everywhere: a link inside the store is never ours.
  static func open(_ path: String, _ flags: Int32, mode: mode_t = 0o600) throws(StoreError) -> StoreFile {
    while true {
      let descriptor = Glibc.open(path, flags | O_CLOEXEC | O_NOFOLLOW, mode)
      if descriptor >= 0 { return StoreFile(path: path, descriptor: descriptor) }
      let number = errno
      if number != EINTR { throw .system(operation: "open", path: path, errno: number) }
    }
  }

  func failed(_ operation: String, _ number: Int32) -> StoreError {
    .system(operation: operation, path: path, errno: number)
  }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(StoreError) {
    var done = 0
    while done < bytes.count {
      let rest = UnsafeRawBufferPointer(rebasing: bytes[done...])
      let count = pwrite(descriptor, rest.baseAddress, rest.count, off_t(offset) + off_t(done))
      if count > 0 {
        done += count
      } else {
        let number = count == 0 ? EIO : errno
        if number != EINTR { throw failed("write", number) }
      }
    }
  }

  func write(_ bytes: [UInt8], at offset: UInt64) throws(StoreError) {
    // The standard library's closures rethrow untyped; a Result carries the type across.
    let result = bytes.withUnsafeBytes { buffer in
      Result { () throws(StoreError) in try self.write(buffer, at: offset) }
    }
    try result.get()
  }

  /// Fills `buffer` from `offset`; a file that ends before is damaged.
  func read(_ buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(StoreError) {
    var done = 0
    while done < buffer.count {
      let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
      let count = pread(descriptor, rest.baseAddress, rest.count, off_t(offset) + off_t(done))
      if count > 0 {
        done += count
      } else if count == 0 {
        throw .damaged(path: path, what: "it ends at byte \(offset + UInt64(done))")
      } else {
        let number = errno
        if number != EINTR { throw failed("read", number) }
      }
    }
  }

  func read(count: Int, at offset: UInt64) throws(StoreError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    let result = bytes.withUnsafeMutableBytes { buffer in
      Result { () throws(StoreError) in try self.read(buffer, at: offset) }
    }
    try result.get()
    return bytes
  }

  func status() throws(StoreError) -> stat {
    var status = stat()
    if fstat(descriptor, &status) != 0 { throw failed("examine", errno) }
    return status
  }

  /// Size in bytes; anything but a regular file is damage.
  func regularSize() throws(StoreError) -> UInt64 {
    let status = try status()
    guard status.st_mode & S_IFMT == S_IFREG else {
      throw .damaged(path: path, what: "it is not a regular file")
    }
    return UInt64(status.st_size)
  }

  func sync() throws(StoreError) {
    if fsync(descriptor) != 0 { throw failed("fsync", errno) }
  }

  func syncData() throws(StoreError) {
    if fdatasync(descriptor) != 0 { throw failed("fdatasync", errno) }
  }

  /// Starts write-back of a range, so that the final sync finds little left to do.
  func startWriteBack(at offset: UInt64, count: Int) throws(StoreError) {
    let write: UInt32 = 2  // SYNC_FILE_RANGE_WRITE, linux/fs.h
    guard sync_file_range(descriptor, off_t(offset), off_t(count), write) != 0 else { return }
    // File systems without it lose only the pacing; a real error must not be swallowed here, because the
    // kernel may report it once only.
    let number = errno
    if number != ENOSYS, number != EINVAL, number != ESPIPE, number != EOPNOTSUPP {
      throw failed("write back", number)
    }
  }

  /// Sets blocks aside without changing the size; where the file system cannot, looks at its free space alone.
  func reserve(_ bytes: UInt64) throws(StoreError) {
    guard bytes > 0 else { return }
    // Looked at first in any case: an fallocate that must fail would fill the disk for a moment, for everyone.
    let free = try freeBytes()
    if free < bytes { throw .full(needed: bytes, available: free, path: path) }
    while fallocate(descriptor, ckpt_FALLOC_FL_KEEP_SIZE, 0, off_t(bytes)) != 0 {
      switch errno {
      case EINTR: continue
      case ENOSPC, EDQUOT: throw .full(needed: bytes, available: free, path: path)
      case EOPNOTSUPP, ENOSYS: return
      case let number: throw failed("reserve \(bytes) bytes in", number)
      }
    }
  }

  /// Bytes of the disk that the file has.
  func diskBytes() throws(StoreError) -> UInt64 { UInt64(try status().st_blocks) * 512 }

  /// Gives the disk's blocks of a range back; the range reads as zeros then, and the size stays.
  ///
  /// - Returns: false where the file system cannot.
  func punchHole(at offset: UInt64, count: UInt64) throws(StoreError) -> Bool {
    let mode = ckpt_FALLOC_FL_PUNCH_HOLE | ckpt_FALLOC_FL_KEEP_SIZE
    while fallocate(descriptor, mode, off_t(offset), off_t(count)) != 0 {
      switch errno {
      case EINTR: continue
      case EOPNOTSUPP, ENOSYS: return false
      case let number: throw failed("punch a hole into", number)
      }
    }
    return true
  }

  /// The next stretch that is no hole; nil when there is none. Where the file system does not tell, all is data.
  func data(from start: UInt64) throws(StoreError) -> Range<UInt64>? {
    guard let first = try seek(start, 3) else { return nil }  // SEEK_DATA, linux/fs.h
    let end = try seek(first, 4) ?? first  // SEEK_HOLE: the end of a file counts as one
    return end > first ? first..<end : nil
  }

  /// Whether the file's last byte takes no room.
  func endsInHole() throws(StoreError) -> Bool {
    let size = try regularSize()
    guard size > 0 else { return false }
    return try data(from: size - 1) == nil
  }

  /// - Returns: nil when nothing of the kind follows.
  private func seek(_ start: UInt64, _ kind: Int32) throws(StoreError) -> UInt64? {
    let found = lseek(descriptor, off_t(start), kind)
    if found >= 0 { return UInt64(found) }
    guard errno == ENXIO else { throw failed("look for data in", errno) }
    return nil
  }

  /// Makes `size` the size and gives back what was reserved beyond it. Up first, then down: some file
  /// systems ignore a truncation that changes nothing and would keep the reserve.
  func cutOff(at size: UInt64) throws(StoreError) {
    for target in [size + 1, size] where ftruncate(descriptor, off_t(target)) != 0 {
      throw failed("truncate", errno)
    }
  }

  private func freeBytes() throws(StoreError) -> UInt64 {
    var status = statvfs()
    if fstatvfs(descriptor, &status) != 0 { throw failed("examine the file system of", errno) }
    return UInt64(status.f_bavail) * UInt64(status.f_frsize)
  }
}

/// Calls on names.
enum StoreName {
  /// Creates a folder with mode 0700 and makes its name durable; a folder that exists is left as it is.
  static func makeFolder(_ path: String, parent: String) throws(StoreError) {
    if mkdir(path, 0o700) != 0 {
      let number = errno
      if number != EEXIST { throw .system(operation: "create folder", path: path, errno: number) }
      return
    }
    try syncFolder(parent)
  }

  static func syncFolder(_ path: String) throws(StoreError) {
    try StoreFile.open(path, O_RDONLY | O_DIRECTORY).sync()
  }

  static func rename(_ old: String, to new: String) throws(StoreError) {
    if Glibc.rename(old, new) != 0 { throw .system(operation: "rename to", path: new, errno: errno) }
  }

  /// Removes a file; one that is not there is as good.
  @discardableResult
  static func remove(_ path: String) throws(StoreError) -> Bool {
    if unlink(path) == 0 { return true }
    let number = errno
    if number == ENOENT { return false }
    throw .system(operation: "remove", path: path, errno: number)
  }

  /// True when there is something of this name, whatever it is.
  static func exists(_ path: String) throws(StoreError) -> Bool {
    var status = stat()
    if lstat(path, &status) == 0 { return true }
    let number = errno
    if number == ENOENT { return false }
    throw .system(operation: "examine", path: path, errno: number)
  }

  /// Bytes of the disk that a file alone has; none when it is gone, or when another name keeps it alive.
  static func diskBytes(_ path: String) -> UInt64 {
    var status = stat()
    guard lstat(path, &status) == 0, status.st_nlink <= 1 else { return 0 }
    return UInt64(status.st_blocks) * 512
  }

  /// Names in a folder, unsorted, without `.` and `..`.
  static func list(_ path: String) throws(StoreError) -> [String] {
    var names: [String] = []
    try forEach(in: path) { names.append(String(decoding: $0, as: UTF8.self)) }
    return names.filter { $0 != "." && $0 != ".." }
  }

  /// Hands out every name in a folder, unsorted, `.` and `..` among them, valid during the call only.
  static func forEach(in path: String, _ body: (UnsafeRawBufferPointer) -> Void) throws(StoreError) {
    guard let folder = opendir(path) else { throw .system(operation: "list", path: path, errno: errno) }
    defer { closedir(folder) }
    while true {
      errno = 0
      guard let entry = readdir(folder) else {
        let number = errno
        if number != 0 { throw .system(operation: "list", path: path, errno: number) }
        return
      }
      withUnsafePointer(to: &entry.pointee.d_name) { pointer in
        let start = UnsafeRawPointer(pointer)
        body(UnsafeRawBufferPointer(start: start, count: strlen(start.assumingMemoryBound(to: CChar.self))))
      }
    }
  }
}
