import Glibc

/// Who holds an flock, by the kernel's own list: to be told, without taking the lock and being in somebody's way.
public enum LockHolder {
  /// The process that holds the lock file; nil when nobody does, or it cannot be known.
  public static func of(_ path: String) -> Int32? { (try? StoreFile.open(path, O_RDONLY)).flatMap(of) }

  /// A pid written into the file could be an old one.
  /// Lines read `1: FLOCK  ADVISORY  WRITE 1234 fe:00:131 0 EOF` (major and minor in hex), proc(5).
  static func of(_ file: StoreFile) -> Int32? {
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
