internal import CLinux
import Glibc

/// The bytes of a block device, past dom0's cache: buffers start at a multiple of 4096, offsets and lengths are multiples of 512.
public final class BlockVolume {
  private let path: String
  private let descriptor: Int32

  public init(_ path: String, writable: Bool) throws {
    self.path = path
    descriptor = open(path, (writable ? O_RDWR : O_RDONLY) | ckpt_O_DIRECT | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure(.open, errno) }
  }

  /// To read what nobody is to change meanwhile: a block device, which is claimed for as long as this lives, or a regular file, which is read
  /// through dom0's cache.
  ///
  /// - Throws: `DeviceMapperError.failed` with EBUSY for a device that is mounted, or part of another one.
  public init(claiming path: String) throws {
    self.path = path
    let isDevice = DeviceNumber(ofDevice: path) != nil
    descriptor = open(path, (isDevice ? O_RDONLY | O_EXCL | ckpt_O_DIRECT : O_RDONLY) | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure(.open, errno) }
  }

  deinit { if descriptor >= 0 { close(descriptor) } }

  /// Fills the buffer.
  public func read(_ buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws {
    try transfer(.read, buffer.count) { done in
      pread(descriptor, buffer.baseAddress.map { $0 + done }, buffer.count - done, off_t(offset) + off_t(done))
    }
  }

  public func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws {
    try transfer(.write, bytes.count) { done in
      pwrite(descriptor, bytes.baseAddress.map { $0 + done }, bytes.count - done, off_t(offset) + off_t(done))
    }
  }

  /// Tells the device that nobody needs a range any more. A thin volume gives up whole blocks of it, which then read as zeros.
  ///
  /// - Returns: false where the device takes no such word.
  public func discard(_ range: Range<UInt64>) throws -> Bool {
    let code = ckpt_block_discard(descriptor, range.lowerBound, range.upperBound - range.lowerBound)
    if code == EOPNOTSUPP { return false }
    guard code == 0 else { throw failure(.discard, code) }
    return true
  }

  /// Everything that was written lies on the disk when this returns.
  public func sync() throws { guard fsync(descriptor) == 0 else { throw failure(.flush, errno) } }

  private func transfer(_ operation: DeviceMapperError.Operation, _ count: Int, _ step: (Int) -> Int) throws {
    var done = 0
    while done < count {
      let now = step(done)
      if now < 0, errno == EINTR { continue }
      guard now > 0 else { throw failure(operation, now == 0 ? EIO : errno) }
      done += now
    }
  }

  private func failure(_ operation: DeviceMapperError.Operation, _ code: Int32) -> DeviceMapperError {
    .failed(operation, device: path, errno: code, detail: "", left: .unchanged)
  }
}
