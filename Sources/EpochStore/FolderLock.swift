import Glibc

/// The lock of a guest's folder: exclusive for take, restore and prune, shared for readers. It is an flock, so
/// it dies with the process and never goes stale.
public final class FolderLock: Sendable {
  public enum Kind: Sendable { case exclusive, shared }

  private let file: StoreFile

  init(path: String, kind: Kind) throws(StoreError) {
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
      throw .locked(path: path, pid: Self.holder(of: file))
    }
  }

  /// The kernel's own list names who holds the lock; a pid written into the file could be an old one.
  /// Lines read `1: FLOCK  ADVISORY  WRITE 1234 fe:00:131 0 EOF` (major and minor in hex), proc(5).
  private static func holder(of file: StoreFile) -> Int32? {
    guard let status = try? file.status(), let locks = fopen("/proc/locks", "re") else { return nil }
    defer { fclose(locks) }
    // glibc's encoding of a device number; its macros are not imported.
    let device = UInt64(status.st_dev)
    let major = UInt32(device >> 8 & 0xfff | device >> 32 & 0xffff_f000)
    let minor = UInt32(device & 0xff | device >> 12 & 0xffff_ff00)
    var line = [CChar](repeating: 0, count: 256)
    while fgets(&line, Int32(line.count), locks) != nil {
      let text = line.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
      let words = text.split(whereSeparator: \.isWhitespace)
      guard words.count >= 6, words[1] == "FLOCK", let pid = Int32(words[4]) else { continue }
      let place = words[5].split(separator: ":")
      guard place.count == 3, UInt32(place[0], radix: 16) == major, UInt32(place[1], radix: 16) == minor,
        UInt64(place[2]) == UInt64(status.st_ino)
      else { continue }
      return pid
    }
    return nil
  }
}
