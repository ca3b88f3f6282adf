import CLinux
import Glibc

/// A file that gets its name when all of it is there: whoever ends in the middle, by Ctrl-C or otherwise, leaves nothing. Where the file
/// system has no files without a name it has its name from the start, and goes when something fails.
///
/// Only root can read it: what is exported holds a guest's secrets.
struct NewFile {
  private let path: String
  private let isNamed: Bool
  let descriptor: Int32

  /// - Throws: ``UsageRefused`` when there is such a file, or none can be made.
  init(_ path: String) throws {
    self.path = path
    var status = stat()
    guard lstat(path, &status) != 0 else {
      let isFile = status.st_mode & S_IFMT == S_IFREG
      throw Self.refused(path, EEXIST, next: isFile ? "remove it or name another" : "write to - and redirect that")
    }
    let unnamed = open(Self.folder(of: path), O_WRONLY | ckpt_O_TMPFILE | O_CLOEXEC, 0o600)
    isNamed = unnamed < 0
    descriptor = isNamed ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600) : unnamed
    guard descriptor >= 0 else { throw Self.refused(path, errno) }
  }

  /// Makes the file of what `write` writes and syncs. Its name is durable, too, when this returns: the epoch may be removed then.
  ///
  /// - Throws: what `write` throws; ``UsageRefused`` when somebody made such a file meanwhile. Then there is no file of ours.
  func fill(_ write: (_ descriptor: Int32) throws -> Void) throws {
    defer { close(descriptor) }
    do { try write(descriptor) } catch {
      if isNamed { unlink(path) }
      throw error
    }
    if !isNamed, linkat(AT_FDCWD, "/proc/self/fd/\(descriptor)", AT_FDCWD, path, AT_SYMLINK_FOLLOW) != 0 {
      throw Self.refused(path, errno)
    }
    try Self.syncName(of: path)
  }

  /// Where the file system cannot sync a folder there is nothing to be done.
  ///
  /// - Throws: ``UsageRefused``; the file is there, and a power cut may take it.
  static func syncName(of path: String) throws {
    let folder = open(folder(of: path), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    defer { close(folder) }
    guard folder >= 0, fsync(folder) == 0 || [EINVAL, ENOSYS, EOPNOTSUPP].contains(errno) else {
      throw UsageRefused(
        description: "\(path) is written, but its folder cannot be synced: \(String(cString: strerror(errno)))")
    }
  }

  private static func folder(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return String(path[...slash])
  }

  private static func refused(_ path: String, _ code: Int32, next: String = "remove it or name another") -> UsageRefused
  {
    let next = code == EEXIST ? "; \(next)" : ""
    return UsageRefused(description: "cannot make \(path): \(String(cString: strerror(code)))\(next)")
  }
}
