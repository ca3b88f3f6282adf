import CXXHash
import Glibc

/// The file `hashes` of a guest's folder: the page hashes of one epoch, so that a process that starts need not
/// read the epoch to know them. Only a cache: it is written without fsync, and whatever is wrong with it, or with the
/// epoch it names, makes it as good as missing.
struct HashCache {
  let folder: GuestFolder
  let epoch: Int
  /// The checksum that closes the epoch's file.
  let fileHash: UInt64

  private static let headerBytes = 56
  private static let entryBytes = 8 + PageHashes.chunkBytes
  /// Chunks that are read or written in one go: 1 MiB.
  private static let pieceChunks = 240

  private var path: String { folder.path + "/hashes" }

  /// Magic, version, epoch, uuid, checksum of the epoch's file, pages, chunks.
  private func header(pages: Int, chunks: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Self.headerBytes)
    bytes.withUnsafeMutableBytes { buffer in
      let start = buffer.baseAddress.unsafelyUnwrapped
      buffer.copyBytes(from: Array("CKPTHSH1".utf8))
      start.setLittle(8, UInt32(EpochFormat.version))
      start.setLittle(12, UInt32(epoch))
      UnsafeMutableRawBufferPointer(rebasing: buffer[16...]).copyBytes(from: EpochStore.bytes(ofUUID: folder.uuid))
      start.setLittle(32, fileHash)
      start.setLittle(40, UInt64(pages))
      start.setLittle(48, UInt64(chunks))
    }
    return bytes
  }

  // MARK: Writing

  /// Failing is no error: the next reader makes the hashes again.
  func write(_ hashes: PageHashes) {
    let partial = path + EpochName.partial
    do {
      try StoreName.remove(partial)
      let file = try StoreFile.open(partial, O_WRONLY | O_CREAT | O_EXCL)
      try write(hashes, to: file)
      try StoreName.rename(partial, to: path)
    } catch {
      _ = try? StoreName.remove(partial)
    }
  }

  private func write(_ hashes: PageHashes, to file: StoreFile) throws(StoreError) {
    var chunks = 0
    hashes.forEachChunk { _, _ in chunks += 1 }
    let output = HashedOutput(file: file, offset: 0)
    let header = header(pages: hashes.count, chunks: chunks)
    try output.add(header.count) { target in
      header.withUnsafeBytes { target.copyMemory(from: $0.baseAddress.unsafelyUnwrapped, byteCount: header.count) }
    }
    try hashes.forEachChunk { number, content throws(StoreError) in
      try output.add(Self.entryBytes) { target in
        target.setLittle(0, number)
        (target + 8).copyMemory(from: content, byteCount: PageHashes.chunkBytes)
      }
    }
    let hash = try output.finish()
    try file.write(withUnsafeBytes(of: hash.littleEndian) { Array($0) }, at: output.offset)
  }

  // MARK: Reading

  /// nil for anything but the whole, undamaged cache of this very epoch.
  func read() -> PageHashes? {
    guard let file = try? StoreFile.open(path, O_RDONLY), let size = try? file.regularSize(),
      size >= UInt64(Self.headerBytes + 8), let first = try? file.read(count: Self.headerBytes, at: 0)
    else { return nil }
    let (pages, chunks) = first.withUnsafeBytes {
      (
        $0.baseAddress.unsafelyUnwrapped.little(40, UInt64.self),
        $0.baseAddress.unsafelyUnwrapped.little(48, UInt64.self)
      )
    }
    guard chunks <= PageHashes.chunkLimit, pages <= chunks * UInt64(PageHashes.chunkPages),
      size == UInt64(Self.headerBytes + 8) + chunks * UInt64(Self.entryBytes),
      first == header(pages: Int(pages), chunks: Int(chunks))
    else { return nil }
    let hashes = PageHashes()
    guard (try? fill(hashes, chunks: Int(chunks), header: first, from: file)) == true, hashes.count == Int(pages)
    else { return nil }
    return hashes
  }

  /// False when the chunks are out of order, or the checksum at the end is not theirs.
  private func fill(
    _ hashes: PageHashes, chunks: Int, header: [UInt8], from file: StoreFile
  ) throws(StoreError) -> Bool {
    let state = XXH3_createState()
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.pieceChunks * Self.entryBytes, alignment: 16)
    defer {
      XXH3_freeState(state)
      buffer.deallocate()
    }
    XXH3_64bits_reset(state)
    header.withUnsafeBytes { _ = XXH3_64bits_update(state, $0.baseAddress, $0.count) }
    var offset = UInt64(header.count)
    var next: UInt64 = 0
    for first in stride(from: 0, to: chunks, by: Self.pieceChunks) {
      let count = min(Self.pieceChunks, chunks - first)
      let piece = UnsafeMutableRawBufferPointer(rebasing: buffer[..<(count * Self.entryBytes)])
      try file.read(piece, at: offset)
      XXH3_64bits_update(state, piece.baseAddress, piece.count)
      offset += UInt64(piece.count)
      for index in 0..<count {
        let entry = UnsafeRawPointer(piece.baseAddress.unsafelyUnwrapped) + index * Self.entryBytes
        let number = entry.little(0, UInt64.self)
        guard number >= next, number < PageHashes.chunkLimit else { return false }
        hashes.newChunk(number).copyMemory(
          from: UnsafeRawBufferPointer(start: entry + 8, count: PageHashes.chunkBytes))
        hashes.count += (0..<PageHashes.chunkPages).count { entry.little(8 + $0 * 8, UInt64.self) != 0 }
        next = number + 1
      }
    }
    let stored = try file.read(count: 8, at: offset)
    return stored == withUnsafeBytes(of: XXH3_64bits_digest(state).littleEndian) { Array($0) }
  }
}
