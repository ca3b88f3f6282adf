internal import CLinux
import Glibc

// What stands on block devices.
extension BlockDevice {
  /// Reads parts of a device as they are on disk now, past what dom0 has cached of it.
  ///
  /// - Parameter parts: byte offsets and lengths within the device.
  public static func read(_ path: String, parts: [(offset: UInt64, count: Int)]) throws -> [[UInt8]] {
    try flushBuffers(path)
    let descriptor = try open(path, O_RDONLY)
    defer { close(descriptor) }
    // Pages far from each other: reading ahead would read much more than is asked for.
    posix_fadvise(descriptor, 0, 0, POSIX_FADV_RANDOM)
    return try parts.map { part in
      var bytes = [UInt8](repeating: 0, count: part.count)
      guard pread(descriptor, &bytes, part.count, off_t(part.offset)) == part.count else {
        throw failed(.open, path, errno)
      }
      return bytes
    }
  }

  /// Makes `target` equal to `source`, which nobody may write to meanwhile: reads both from start to end and writes what differs, in
  /// pieces of 64 KiB. Durable when it returns; doing it again goes on where a crash ended it. Goes past dom0's cache.
  ///
  /// - Parameters:
  ///   - bytes: the size of both.
  ///   - progress: told the bytes compared so far, a few times per second at most.
  /// - Returns: bytes written.
  public static func copyDifferences(
    from source: String, to target: String, bytes: UInt64, progress: (UInt64) -> Void
  ) throws -> UInt64 {
    let (input, output) = (try open(source, O_RDONLY | ckpt_O_DIRECT), try open(target, O_RDWR | ckpt_O_DIRECT))
    defer { for descriptor in [input, output] { close(descriptor) } }
    // Direct I/O wants aligned memory.
    let (new, old) = (AlignedBytes(count: 4 << 20), AlignedBytes(count: 4 << 20))
    let piece = 65536
    var (at, written): (UInt64, UInt64) = (0, 0)
    while at < bytes {
      let count = Int(min(UInt64(new.count), bytes - at))
      guard pread(input, new.start, count, off_t(at)) == count else { throw failed(.open, source, errno) }
      guard pread(output, old.start, count, off_t(at)) == count else { throw failed(.open, target, errno) }
      for offset in stride(from: 0, to: count, by: piece) {
        let length = min(piece, count - offset)
        guard memcmp(new.start + offset, old.start + offset, length) != 0 else { continue }
        guard pwrite(output, new.start + offset, length, off_t(at) + off_t(offset)) == length else {
          throw failed(.open, target, errno)
        }
        written += UInt64(length)
      }
      at += UInt64(count)
      progress(at)
    }
    guard fsync(output) == 0 else { throw failed(.flush, target, errno) }
    return written
  }

  private static func open(_ path: String, _ flags: Int32) throws -> Int32 {
    let descriptor = Glibc.open(path, flags | O_CLOEXEC)
    guard descriptor >= 0 else { throw failed(.open, path, errno) }
    return descriptor
  }

  private static func failed(
    _ operation: DeviceMapperError.Operation, _ path: String, _ code: Int32
  ) -> DeviceMapperError {
    .failed(operation, device: path, errno: code == 0 ? EIO : code, detail: "", left: .unchanged)
  }
}

private final class AlignedBytes {
  let start: UnsafeMutableRawPointer
  let count: Int

  init(count: Int) {
    start = .allocate(byteCount: count, alignment: 4096)
    self.count = count
  }
  deinit { start.deallocate() }
}
