internal import CLinux
import Glibc

/// The few things we ask of any block device.
public enum BlockDevice {
  /// Size in bytes. Opens read-only.
  public static func size(_ path: String) throws -> UInt64 {
    let descriptor = try openDevice(path, O_RDONLY, .size)
    defer { close(descriptor) }
    var bytes: UInt64 = 0
    let code = ckpt_block_size(descriptor, &bytes)
    guard code == 0 else { throw failure(.size, path, code) }
    return bytes
  }

  /// Bytes of its logical blocks, which whoever uses it learns once: 512 or 4096, as a rule.
  public static func sectorBytes(_ path: String) throws -> Int {
    let descriptor = try openDevice(path, O_RDONLY, .size)
    defer { close(descriptor) }
    var bytes: Int32 = 0
    let code = ckpt_block_sector_bytes(descriptor, &bytes)
    guard code == 0 else { throw failure(.size, path, code) }
    return Int(bytes)
  }

  /// Drops what dom0 cached of the device: after a table swap a buffered reader would still see the old disk.
  public static func flushBuffers(_ path: String) throws {
    let descriptor = try openDevice(path, O_RDONLY, .flush)
    defer { close(descriptor) }
    let code = ckpt_block_flush_buffers(descriptor)
    guard code == 0 else { throw failure(.flush, path, code) }
  }

  /// True when the device is mounted, or held by device-mapper, md or a loop (an exclusive open is refused).
  public static func isInUse(_ path: String) throws -> Bool {
    let descriptor = open(path, O_RDONLY | O_EXCL | O_CLOEXEC)
    if descriptor >= 0 {
      close(descriptor)
      return false
    }
    guard errno == EBUSY else { throw failure(.open, path, errno) }
    return true
  }

  /// Overwrites the first `count` bytes with zeros and flushes them, of a device that nobody has claimed: the kernel formats thin metadata
  /// whose first block is zero.
  public static func zeroStart(_ path: String, count: Int) throws {
    let descriptor = try openDevice(path, O_WRONLY | O_EXCL, .open)
    defer { close(descriptor) }
    let zeros = [UInt8](repeating: 0, count: count)
    guard pwrite(descriptor, zeros, count, 0) == count, fsync(descriptor) == 0 else {
      throw failure(.open, path, errno)
    }
  }

  /// The first `count` bytes.
  public static func start(_ path: String, count: Int) throws -> [UInt8] {
    let descriptor = try openDevice(path, O_RDONLY, .open)
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: count)
    let got = pread(descriptor, &bytes, count, 0)
    guard got >= 0 else { throw failure(.open, path, errno) }
    return Array(bytes[..<got])
  }

  private static func openDevice(
    _ path: String, _ flags: Int32, _ operation: DeviceMapperError.Operation
  ) throws -> Int32 {
    let descriptor = open(path, flags | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure(operation, path, errno) }
    return descriptor
  }

  private static func failure(
    _ operation: DeviceMapperError.Operation, _ path: String, _ code: Int32
  ) -> DeviceMapperError {
    .failed(operation, device: path, errno: code, detail: "", left: .unchanged)
  }
}
