import CXXHash

/// A 1 MiB buffer between small pieces and a file, which hashes what goes through.
final class HashedOutput {
  /// Where in the file the next byte goes, once `finish` was called.
  private(set) var offset: UInt64
  private let file: StoreFile
  private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
  private var used = 0
  private let hash = XXH3_createState()

  init(file: StoreFile, offset: UInt64) {
    self.file = file
    self.offset = offset
    XXH3_64bits_reset(hash)
  }

  deinit {
    buffer.deallocate()
    XXH3_freeState(hash)
  }

  func add(_ count: Int, _ encode: (UnsafeMutableRawPointer) -> Void) throws(StoreError) {
    if buffer.count - used < count { try flush() }
    encode(buffer.baseAddress.unsafelyUnwrapped + used)
    used += count
  }

  /// Writes what is left; returns the XXH3 of all.
  func finish() throws(StoreError) -> UInt64 {
    try flush()
    return XXH3_64bits_digest(hash)
  }

  private func flush() throws(StoreError) {
    let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<used])
    XXH3_64bits_update(hash, bytes.baseAddress, bytes.count)
    try file.write(bytes, at: offset)
    offset += UInt64(used)
    used = 0
  }
}
