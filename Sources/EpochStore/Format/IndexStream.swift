import CXXHash
import Glibc

/// The page index of an epoch, entry by entry, without standing in memory: it is merged into the next epoch's, or searched for what is
/// still needed.
final class IndexStream {
  /// The entry to take next; nil at the end.
  private(set) var next: PageEntry?

  private let file: StoreFile
  private let trailer: EpochTrailer
  private let buffer: UnsafeMutableRawBufferPointer
  private let hash = XXH3_createState()
  /// Bytes of the index, records' too, that were read.
  private var read: UInt64 = 0
  /// Page entries in the buffer: taken, and in all.
  private var taken = 0
  private var filled = 0
  private var left: Int
  /// 64 KB: what is read, hashed and handed over stays in the core's cache.
  static let bufferEntries = 1600

  /// Opens the file and checks that it still is the one that `base` was made from.
  convenience init(_ base: EpochBase) throws(StoreError) {
    try self.init(base.folder, epoch: base.epoch, fileHash: base.fileHash)
  }

  /// - Parameter fileHash: what the manifest says of the epoch's file.
  init(_ folder: GuestFolder, epoch: Int, fileHash: String) throws(StoreError) {
    let path = folder.path + "/" + EpochName.file(epoch)
    do { file = try StoreFile.open(path, O_RDONLY) } catch {
      guard case .system(_, _, ENOENT) = error else { throw error }
      throw .damaged(path: path, what: "it is gone, though its manifest is there")
    }
    let size = try file.regularSize()
    guard size >= UInt64(EpochFormat.headerBytes + EpochFormat.trailerBytes) else {
      throw .damaged(path: path, what: "it is too short")
    }
    let end = try file.read(count: EpochFormat.trailerBytes, at: size - UInt64(EpochFormat.trailerBytes))
    trailer = try EpochTrailer(decoding: end, fileBytes: size, path: path)
    guard ManifestFile.hexadecimal(trailer.hash) == fileHash else {
      throw .damaged(path: path, what: "it is not the file that it was")
    }
    buffer = .allocate(byteCount: Self.bufferEntries * EpochFormat.pageEntryBytes, alignment: 4096)
    left = Int(trailer.pageEntries)
    XXH3_64bits_reset(hash)
  }

  deinit {
    buffer.deallocate()
    XXH3_freeState(hash)
  }

  /// Moves on to the next entry; once before the first.
  func advance() throws(StoreError) {
    if taken == filled {
      guard left > 0 else {
        next = nil
        return
      }
      filled = min(left, Self.bufferEntries)
      taken = 0
      left -= filled
      try fill(filled * EpochFormat.pageEntryBytes)
    }
    let entry = PageEntry(
      decoding: UnsafeRawPointer(buffer.baseAddress.unsafelyUnwrapped) + taken * EpochFormat.pageEntryBytes)
    taken += 1
    guard entry.group >= next?.group ?? 0 else { throw damaged }
    next = entry
  }

  /// Hands over entries as they stand, from `next` on: whole groups below `limit`, up to one with a frame that only
  /// covers bytes of the file, which is not to be inherited, or to the last that the buffer has. `next` is the first
  /// that was not handed over.
  func pass(
    below limit: UInt64, _ body: (UnsafeRawBufferPointer) throws(StoreError) -> Void
  ) throws(StoreError) {
    guard var group = next?.group else { return }
    let start = UnsafeRawPointer(buffer.baseAddress.unsafelyUnwrapped)
    let first = taken - 1
    var end = first
    var index = first
    while index < filled {
      let entry = start + index * EpochFormat.pageEntryBytes
      let (number, isFrame, data) = PageEntry.glance(entry)
      guard number >= group else { throw damaged }
      if number > group { (group, end) = (number, index) }
      if number >= limit || isFrame && data == 0 { break }
      index += 1
    }
    // The group of the last entry may go on in the next piece.
    if index == filled, left == 0 { end = filled }
    guard end > first else { return }
    let bytes = EpochFormat.pageEntryBytes * (end - first)
    try body(UnsafeRawBufferPointer(start: start + first * EpochFormat.pageEntryBytes, count: bytes))
    taken = end
    try advance()
  }

  /// Proves everything that was read: only now may what was made of it be used.
  func finish() throws(StoreError) {
    while read < trailer.indexBytes {
      try fill(Int(min(trailer.indexBytes - read, UInt64(buffer.count))))
    }
    guard XXH3_64bits_digest(hash) == trailer.indexHash else { throw damaged }
  }

  var damaged: StoreError { .damaged(path: file.path, what: "its index does not match its checksum") }

  private func fill(_ count: Int) throws(StoreError) {
    let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
    try file.read(bytes, at: trailer.indexOffset + read)
    XXH3_64bits_update(hash, bytes.baseAddress, count)
    read += UInt64(count)
  }
}
