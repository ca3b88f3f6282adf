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

  private static let headerBytes = 64
  /// Chunks that are read in one go: 1 MiB.
  private static let pieceChunks = 240

  private var path: String { folder.path + "/hashes" }

  /// Magic, version, epoch, uuid, checksum of the epoch's file, pages, chunks: all of the header but its checksum.
  private func names(pages: Int, chunks: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Self.headerBytes - 8)
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

  private static func fileBytes(chunks: Int) -> UInt64 {
    UInt64(headerBytes) + UInt64(chunks) * UInt64(PageHashes.entryBytes)
  }

  // MARK: Writing

  /// Makes the file that of `hashes`. Where it is the base's, only the chunks that have changed since are written, so
  /// that the file costs what changed and not what the guest owns. Failing is no error: the next reader makes the
  /// hashes again.
  func write(_ hashes: PageHashes, over base: EpochBase? = nil) {
    if let base, (try? update(hashes, over: base)) == true { return }
    let partial = path + EpochName.partial
    do {
      try StoreName.remove(partial)
      let file = try StoreFile.open(partial, O_WRONLY | O_CREAT | O_EXCL)
      try write(hashes, to: file, onlyChanged: false)
      try StoreName.rename(partial, to: path)
    } catch {
      _ = try? StoreName.remove(partial)
    }
  }

  /// - Returns: false when the file is not the base's, or has other chunks.
  private func update(_ hashes: PageHashes, over base: EpochBase) throws(StoreError) -> Bool {
    guard let baseHash = UInt64(base.fileHash, radix: 16) else { return false }
    let chunks = hashes.chunkCount
    let file = try StoreFile.open(path, O_RDWR)
    let known = HashCache(folder: folder, epoch: base.epoch, fileHash: baseHash)
    let names = known.names(pages: base.hashes.count, chunks: chunks)
    guard try file.regularSize() == Self.fileBytes(chunks: chunks),
      try file.read(count: names.count, at: 0) == names
    else { return false }
    // What is neither the old nor the new cache must not pass for one.
    try file.write([UInt8](repeating: 0, count: Self.headerBytes), at: 0)
    try write(hashes, to: file, onlyChanged: true)
    return true
  }

  private func write(_ hashes: PageHashes, to file: StoreFile, onlyChanged: Bool) throws(StoreError) {
    var offset = UInt64(Self.headerBytes)
    let names = names(pages: hashes.count, chunks: hashes.chunkCount)
    var checksum = CacheChecksum(names)
    try hashes.forEachChunk { chunk throws(StoreError) in
      if chunk.hasChanged || !onlyChanged {
        if chunk.hasChanged { chunk.seal() }
        try file.write(chunk.entry, at: offset)
      }
      checksum.add(chunk.checksum)
      offset += UInt64(PageHashes.entryBytes)
    }
    try file.write(names + checksum.bytes, at: 0)
  }

  // MARK: Reading

  /// nil for anything but the whole, undamaged cache of this very epoch.
  func read() -> PageHashes? {
    guard let file = try? StoreFile.open(path, O_RDONLY), let size = try? file.regularSize(),
      size >= UInt64(Self.headerBytes), let header = try? file.read(count: Self.headerBytes, at: 0)
    else { return nil }
    let (pages, chunks) = header.withUnsafeBytes {
      (
        $0.baseAddress.unsafelyUnwrapped.little(40, UInt64.self),
        $0.baseAddress.unsafelyUnwrapped.little(48, UInt64.self)
      )
    }
    guard chunks <= PageHashes.chunkLimit, pages <= chunks * UInt64(PageHashes.chunkPages),
      size == Self.fileBytes(chunks: Int(chunks)),
      Array(header.dropLast(8)) == names(pages: Int(pages), chunks: Int(chunks))
    else { return nil }
    let hashes = PageHashes()
    var checksum = CacheChecksum(Array(header.dropLast(8)))
    guard (try? fill(hashes, chunks: Int(chunks), &checksum, from: file)) == true, hashes.count == Int(pages),
      checksum.bytes == Array(header.suffix(8))
    else { return nil }
    return hashes
  }

  /// False when the chunks are out of order.
  private func fill(
    _ hashes: PageHashes, chunks: Int, _ checksum: inout CacheChecksum, from file: StoreFile
  ) throws(StoreError) -> Bool {
    let buffer = UnsafeMutableRawBufferPointer.allocate(
      byteCount: Self.pieceChunks * PageHashes.entryBytes, alignment: 16)
    defer { buffer.deallocate() }
    var next: UInt64 = 0
    for first in stride(from: 0, to: chunks, by: Self.pieceChunks) {
      let count = min(Self.pieceChunks, chunks - first)
      let piece = UnsafeMutableRawBufferPointer(rebasing: buffer[..<(count * PageHashes.entryBytes)])
      try file.read(piece, at: Self.fileBytes(chunks: first))
      for index in 0..<count {
        let entry = UnsafeRawPointer(piece.baseAddress.unsafelyUnwrapped) + index * PageHashes.entryBytes
        let number = entry.little(0, UInt64.self)
        guard number >= next, number < PageHashes.chunkLimit else { return false }
        let chunk = hashes.newChunk(number, copying: entry + 8)
        chunk.seal()
        checksum.add(chunk.checksum)
        hashes.count += (0..<PageHashes.chunkPages).count { entry.little(8 + $0 * 8, UInt64.self) != 0 }
        next = number + 1
      }
    }
    return true
  }
}

/// XXH3 of the header's other bytes and the checksums of all chunks, as one run of bytes.
private struct CacheChecksum {
  private var run: [UInt8]

  init(_ names: [UInt8]) { run = names }

  mutating func add(_ checksum: UInt64) { withUnsafeBytes(of: checksum.littleEndian) { run += $0 } }

  var bytes: [UInt8] {
    let hash = run.withUnsafeBytes { XXH3_64bits($0.baseAddress, $0.count) }
    return withUnsafeBytes(of: hash.littleEndian) { Array($0) }
  }
}
