import CXXHash
import Glibc
import Synchronization

/// Writes one epoch: pages and records in any order and any number of calls, then `publish`.
///
/// Not for several threads at once; `append` uses threads of its own. A page or a whole group that is appended
/// again replaces what was appended before (rounds of pre-copy). After an error only `abandon` is left.
/// Beside the staged pages it holds at most 48 MiB of buffers and 48 bytes for every 16 pages.
public final class EpochWriter {
  public let folder: GuestFolder
  public let epoch: Int

  private let file: StoreFile
  /// Where the next frames or record go.
  private let end: Atomic<UInt64>
  private var entries: [PageEntry] = []
  private var records: [RecordEntry] = []
  private var packers: [FramePacker] = []
  private var round: UInt32 = 0
  private var state = State.open
  /// The trailer of the complete file, once it is.
  private var sealed: EpochTrailer?

  private enum State { case open, failed, published, abandoned }
  /// Pages that a thread takes at a time.
  private static let chunkPages = 1024
  private static let mostThreads = 64

  init(folder: GuestFolder, epoch: Int, file: StoreFile) throws(StoreError) {
    self.folder = folder
    self.epoch = epoch
    self.file = file
    self.end = Atomic(UInt64(EpochFormat.headerBytes))
    try file.write(EpochHeader(uuid: folder.uuid, epoch: epoch).encoded, at: 0)
  }

  /// A writer that is dropped leaves nothing behind.
  deinit { if state == .open || state == .failed { removeFiles() } }

  /// Bytes written so far.
  public var bytesWritten: UInt64 { end.load(ordering: .relaxed) }

  // MARK: Pages

  /// Compresses pages and writes them.
  ///
  /// - Parameters:
  ///   - threads: how many to work with, 1...64; the calling thread is one of them.
  ///   - progress: gets the number of pages done, growing, from whichever thread got there.
  public func append(_ staged: StagedPages, threads: Int = 1, progress: ((Int) -> Void)? = nil) throws(StoreError) {
    try requireOpen()
    try staged.check()
    guard staged.pfns.count > 0 else { return }
    let chunks = (staged.pfns.count + Self.chunkPages - 1) / Self.chunkPages
    let threads = max(1, min(threads, chunks, Self.mostThreads))
    preparePackers(threads)
    let work = SharedWork(count: chunks, progress: progress)
    do {
      try work.run(threads: threads) { thread throws(StoreError) in
        let packer = packers[thread]
        while let chunk = work.next() {
          let range = Self.bounds(chunk, staged.pfns)
          try packer.add(staged, range, round: round, writer: self.place)
          work.finished(range.count)
        }
        try packer.flush(self.place)
      }
    } catch {
      state = .failed
      throw error
    }
    for packer in packers { entries += packer.takeEntries() }
    self.round += 1
  }

  /// Chunk borders, moved to the next border of a group.
  private static func bounds(_ chunk: Int, _ pfns: UnsafeBufferPointer<UInt64>) -> Range<Int> {
    func border(_ wanted: Int) -> Int {
      var index = min(wanted, pfns.count)
      while index > 0, index < pfns.count, pfns[index] >> 4 == pfns[index - 1] >> 4 { index += 1 }
      return index
    }
    return border(chunk * chunkPages)..<border((chunk + 1) * chunkPages)
  }

  private func preparePackers(_ count: Int) {
    guard packers.count < count else { return }
    // Large enough for any disk, small enough for a core's cache; many threads share 48 MiB.
    let bytes = min(256 << 10, (48 << 20) / count)
    packers = (0..<count).map { _ in FramePacker(epoch: UInt32(epoch), bufferBytes: bytes) }
  }

  /// Claims a place at the end of the file and writes there.
  private func place(_ bytes: UnsafeRawBufferPointer) throws(StoreError) -> UInt64 {
    let offset = end.wrappingAdd(UInt64(bytes.count), ordering: .relaxed).oldValue
    try file.write(bytes, at: offset)
    try file.startWriteBack(at: offset, count: bytes.count)
    return offset
  }

  // MARK: Records

  /// Adds an opaque record of at most 128 MiB. Records keep the order in which they were added.
  public func append(record type: UInt32, _ body: [UInt8]) throws(StoreError) {
    let result = body.withUnsafeBytes { buffer in
      Result { () throws(StoreError) in try self.append(record: type, buffer) }
    }
    try result.get()
  }

  public func append(record type: UInt32, _ body: UnsafeRawBufferPointer) throws(StoreError) {
    try requireOpen()
    guard body.count <= EpochFormat.recordLimit, records.count < EpochFormat.recordCountLimit else {
      throw .invalid("record of type \(type) with \(body.count) bytes is beyond the limits of an epoch")
    }
    do {
      let offset = try place(body)
      let hash = XXH3_64bits(body.baseAddress, body.count)
      records.append(RecordEntry(type: type, offset: offset, length: UInt64(body.count), hash: hash))
    } catch {
      state = .failed
      throw error
    }
  }

  // MARK: The end

  /// Makes the file complete and durable: index, trailer, fdatasync, rename, fsync of the folder. The epoch does not
  /// exist yet; apart from `publish`, so that the manifest can tell how long this took.
  public func seal() throws(StoreError) {
    try requireOpen()
    do {
      let trailer = try writeIndex()
      try file.cutOff(at: trailer.fileBytes)
      try file.syncData()
      try StoreName.rename(partialPath, to: finalPath)
      try StoreName.syncFolder(folder.path)
      sealed = trailer
    } catch {
      state = .failed
      throw error
    }
  }

  /// Makes the epoch exist: seals its file if that was not done, then writes the manifest the same way. Returns the
  /// manifest as published, with sizes and counts filled in.
  public func publish(_ manifest: EpochManifest) throws(StoreError) -> EpochManifest {
    if sealed == nil { try seal() }
    guard let trailer = sealed, state == .open else {
      throw .invalid("the writer of epoch \(epoch) has ended (\(state))")
    }
    guard manifest.uuid == folder.uuid, manifest.epoch == epoch else {
      throw .invalid("the manifest is of epoch \(manifest.epoch) of \(manifest.uuid), not \(epoch) of \(folder.uuid)")
    }
    do {
      var manifest = manifest
      manifest.format = EpochFormat.version
      manifest.bytes = trailer.fileBytes
      manifest.pages = Int(trailer.dataPages)
      manifest.zeroPages = Int(trailer.zeroPages)
      manifest.file = EpochName.file(epoch)
      manifest.fileHash = ManifestFile.hexadecimal(trailer.hash)
      try folder.publish(bytes: try ManifestFile.encode(manifest), as: manifestPath)
      state = .published
      return manifest
    } catch {
      state = .failed
      throw error
    }
  }

  /// Gives the epoch up: nothing of it stays but its number, which counts as used.
  public func abandon() {
    guard state == .open || state == .failed else { return }
    state = .abandoned
    removeFiles()
  }

  /// Manifest first: an epoch must not exist for a moment without its file.
  private func removeFiles() {
    for path in [manifestPath, finalPath, partialPath] { _ = try? StoreName.remove(path) }
    _ = try? StoreName.syncFolder(folder.path)
  }

  /// Writes index and trailer behind the data, in pieces: the index is hashed as it goes out.
  private func writeIndex() throws(StoreError) -> EpochTrailer {
    let index = resolve(entries)
    entries = []
    let start = end.load(ordering: .relaxed)
    var trailer = EpochTrailer(epoch: UInt32(epoch), indexOffset: start)
    trailer.pageEntries = UInt64(index.count)
    trailer.recordEntries = UInt64(records.count)
    for entry in index {
      trailer.dataPages += UInt64(entry.data.nonzeroBitCount)
      trailer.zeroPages += UInt64(entry.zero.nonzeroBitCount)
    }
    let output = IndexOutput(file: file, offset: start)
    for entry in index { try output.add(EpochFormat.pageEntryBytes) { entry.encode(to: $0) } }
    for record in records { try output.add(EpochFormat.recordEntryBytes) { record.encode(to: $0) } }
    trailer.indexHash = try output.finish()
    trailer.headerHash = EpochHeader(uuid: folder.uuid, epoch: epoch).hash
    try file.write(trailer.encode(), at: start + trailer.indexBytes)
    return trailer
  }

  private var finalPath: String { folder.path + "/" + EpochName.file(epoch) }
  private var partialPath: String { finalPath + EpochName.partial }
  private var manifestPath: String { folder.path + "/" + EpochName.manifest(epoch) }

  private func requireOpen() throws(StoreError) {
    guard state == .open, sealed == nil else { throw .invalid("the writer of epoch \(epoch) has ended (\(state))") }
  }
}

/// A 1 MiB buffer between index entries and the file.
private final class IndexOutput {
  private let file: StoreFile
  private var offset: UInt64
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
