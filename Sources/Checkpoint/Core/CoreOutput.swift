import Glibc
import MigrationStream

/// Where a core goes: a pipe gets every byte; in a regular file that ends here, zeros become holes.
struct CoreOutput: ~Copyable {
  private var sink: DescriptorSink
  private let descriptor: Int32
  private let isSparse: Bool
  /// Bytes so far, zeros among them.
  private(set) var position: UInt64 = 0
  /// The file would end before zeros that nothing follows.
  private var endsInHole = false

  private static let zeros = [UInt8](repeating: 0, count: 64 << 10)
  private static let pageBytes = MigrationStream.pageSize

  init(_ descriptor: Int32) {
    self.descriptor = descriptor
    sink = DescriptorSink(descriptor)
    var status = stat()
    // Behind our place there may be old bytes, and what appends cannot leave anything out.
    isSparse =
      fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
      && fcntl(descriptor, F_GETFL) & O_APPEND == 0 && lseek(descriptor, 0, SEEK_CUR) == status.st_size
  }

  mutating func write(_ bytes: UnsafeRawBufferPointer) throws(StreamError) {
    try sink.write(bytes)
    position += UInt64(bytes.count)
    endsInHole = false
  }

  mutating func write(_ bytes: [UInt8]) throws {
    try bytes.withUnsafeBytes { try write($0) }
  }

  /// Zeros up to a position; nothing when it is passed already.
  mutating func skip(to target: UInt64) throws {
    guard target > position else { return }
    if isSparse {
      try sink.flush()
      guard lseek(descriptor, off_t(target - position), SEEK_CUR) >= 0 else {
        throw StreamError.writeFailed(errno: errno)
      }
      position = target
      endsInHole = true
      return
    }
    while position < target {
      let count = Int(min(UInt64(Self.zeros.count), target - position))
      try Self.zeros.withUnsafeBytes { try write(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
    }
  }

  /// Whole pages; those that are all zero are left out where they may be.
  mutating func write(pages: UnsafeRawBufferPointer) throws {
    var start = 0
    while start < pages.count {
      var end = start
      while end < pages.count, !Self.isZero(pages, end) { end += Self.pageBytes }
      if end > start { try write(UnsafeRawBufferPointer(rebasing: pages[start..<end])) }
      start = end
      while end < pages.count, Self.isZero(pages, end) { end += Self.pageBytes }
      try skip(to: position + UInt64(end - start))
      start = end
    }
  }

  /// Hands on what is held back, and makes the file as long as it was written.
  mutating func finish() throws {
    try sink.flush()
    guard endsInHole else { return }
    guard ftruncate(descriptor, lseek(descriptor, 0, SEEK_CUR)) == 0 else {
      throw StreamError.writeFailed(errno: errno)
    }
  }

  private static func isZero(_ pages: UnsafeRawBufferPointer, _ offset: Int) -> Bool {
    let page = UnsafeRawBufferPointer(rebasing: pages[offset..<(offset + pageBytes)])
    return zeros.withUnsafeBytes { memcmp(page.baseAddress!, $0.baseAddress!, pageBytes) == 0 }
  }
}
