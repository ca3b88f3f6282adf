import CXXHash
import Glibc
import Synchronization

/// Writes one epoch: pages and records in any order and any number of calls, then `publish`.
///
/// With a base, pages that are neither appended nor removed are the base's, and only content that the base does
/// not hold is written; and what ``relocate(beyond:pages:shouldStop:)`` takes over.
///
/// Not for several threads at once; `append` uses threads of its own. A page that is appended again replaces what was
/// appended before (rounds of pre-copy). After an error only `abandon` is left, and the base is as good as before.
/// Beside the staged pages it holds at most 48 MiB of buffers, 56 bytes for every frame written (of at most 16 pages),
/// and 8.5 bytes for each page of the guest, shared with the base where nothing changed.
public final class EpochWriter {
  public let folder: GuestFolder
  public let epoch: Int

  private let file: StoreFile
  /// Where the next frames or record go.
  private let end: Atomic<UInt64>
  /// Bytes that were set aside for the file.
  private let reserved: UInt64
  let base: EpochBase?
  /// The base's index, waiting to be merged.
  private let inherited: IndexStream?
  /// What the epoch holds so far, the base's pages among it.
  let hashes: PageHashes
  private var entries: [PageEntry] = []
  private var records: [RecordEntry] = []
  private var packers: [FramePacker] = []
  private var round: UInt32 = 0
  private var state = State.open
  /// What closes the complete file, once it is.
  private var sealed: Sealed?
  /// What was published, as the base of the next epoch; nil before `publish`. Nothing is read for it.
  public private(set) var nextBase: EpochBase?

  private struct Sealed {
    let trailer: EpochTrailer
    let needs: [Int]
  }
  private enum State { case open, failed, published, abandoned }
  /// Pages that a thread takes at a time.
  private static let chunkPages = 1024
  private static let mostThreads = 64

  init(
    folder: GuestFolder, epoch: Int, file: StoreFile, reserved: UInt64, base: EpochBase?, index: IndexStream?
  ) throws(StoreError) {
    self.folder = folder
    self.epoch = epoch
    self.file = file
    self.reserved = reserved
    self.base = base
    inherited = index
    hashes = base.map { PageHashes(sharing: $0.hashes) } ?? PageHashes()
    self.end = Atomic(UInt64(EpochFormat.headerBytes))
    try file.write(EpochHeader(uuid: folder.uuid, epoch: epoch).encoded, at: 0)
  }

  /// A writer that is dropped leaves nothing behind.
  deinit { if state == .open || state == .failed { removeFiles() } }

  /// Bytes written so far.
  public var bytesWritten: UInt64 { end.load(ordering: .relaxed) }

  // MARK: Pages

  /// What one `append` made of its pages.
  public struct Appended: Hashable, Sendable {
    /// Pages given.
    public internal(set) var pages = 0
    /// Those whose content was compressed and written.
    public internal(set) var stored = 0
    /// Those that turned to zero: they cost a bit.
    public internal(set) var zero = 0
    /// Those whose content the epoch held already; their types were taken over.
    public internal(set) var unchanged = 0
    /// Bytes written to the file.
    public internal(set) var storedBytes: UInt64 = 0
  }

  /// Compresses pages and writes those whose content differs from what the epoch holds so far: the base's page, or the
  /// one that was appended last.
  ///
  /// - Parameters:
  ///   - threads: how many to work with, 1...64; the calling thread is one of them.
  ///   - progress: gets the number of pages done, growing, from whichever thread got there.
  @discardableResult
  public func append(
    _ staged: StagedPages, threads: Int = 1, progress: ((Int) -> Void)? = nil
  ) throws(StoreError) -> Appended {
    try requireOpen()
    try staged.check()
    var result = Appended()
    guard staged.pfns.count > 0 else { return result }
    let start = bytesWritten
    own(staged.pfns)
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
    for packer in packers {
      let packed = packer.take()
      entries += packed.entries
      hashes.count += packed.added
      result.stored += packed.stored
      result.zero += packed.zero
    }
    self.round += 1
    result.pages = staged.pfns.count
    result.unchanged = result.pages - result.stored - result.zero
    result.storedBytes = bytesWritten - start
    return result
  }

  /// Pages that were appended, by group.
  var replacedPages: [UInt64: UInt16] {
    var pages: [UInt64: UInt16] = [:]
    for entry in entries { pages[entry.group, default: 0] |= entry.data | entry.zero }
    return pages
  }

  /// How many pages more what was set aside has room for, whatever they are, beside the index.
  var pagesThatFit: Int {
    let used = bytesWritten + EpochFormat.worstCaseBytes(pages: 0, inherited: pageCount, records: records.count)
    return reserved > used ? Int((reserved - used) / UInt64(EpochFormat.mostBytesOfPage)) : 0
  }

  /// Stores pages that the epoch holds already, as they are, so that it needs no other file for them.
  func store(again staged: StagedPages) throws(StoreError) {
    try requireOpen()
    preparePackers(1)
    do {
      try packers[0].add(staged, 0..<staged.pfns.count, round: round, isKnown: true, writer: place)
      try packers[0].flush(place)
    } catch {
      state = .failed
      throw error
    }
    entries += packers[0].take().entries
    round += 1
  }

  /// Takes pages out of the epoch (a guest that gave memory back); those that it does not hold are ignored. A page may
  /// be appended again afterwards.
  public func remove(_ pfns: some Sequence<UInt64>) throws(StoreError) {
    try requireOpen()
    for pfn in pfns { hashes.remove(pfn) }
  }

  /// Pages that the epoch holds so far.
  public var pageCount: Int { hashes.count }

  /// What the epoch would hold if it were sealed now. From any thread, while no other call of the writer runs.
  public func holds(_ pfn: UInt64) -> Bool { hashes[pfn] != 0 }

  /// As `EpochBase.isUnchanged`, against the epoch so far. From any thread, while no other call of the writer runs.
  public func isUnchanged(_ pfn: UInt64, _ page: UnsafeRawPointer, type: UInt8) -> Bool {
    hashes.isUnchanged(pfn, page, type: type)
  }

  /// The pages of the epoch so far, ascending.
  public func forEachPFN(_ body: (UInt64) -> Void) { hashes.forEachPFN(body) }

  /// Before threads write to the hashes: they must not race for a chunk that is still shared.
  private func own(_ pfns: UnsafeBufferPointer<UInt64>) {
    var last = UInt64.max
    for pfn in pfns where pfn / UInt64(PageHashes.chunkPages) != last {
      last = pfn / UInt64(PageHashes.chunkPages)
      hashes.own(pfn)
    }
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
    packers = (0..<count).map { _ in FramePacker(epoch: UInt32(epoch), hashes: hashes, bufferBytes: bytes) }
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
      let sealed = try writeIndex()
      try file.cutOff(at: sealed.trailer.fileBytes)
      try file.syncData()
      try StoreName.rename(partialPath, to: finalPath)
      try StoreName.syncFolder(folder.path)
      self.sealed = sealed
    } catch {
      state = .failed
      throw error
    }
  }

  /// Makes the epoch exist: seals its file if that was not done, then writes the manifest the same way. Returns the
  /// manifest as published, with sizes and counts filled in.
  public func publish(_ manifest: EpochManifest) throws(StoreError) -> EpochManifest {
    if sealed == nil { try seal() }
    guard let sealed, state == .open else {
      throw .invalid("the writer of epoch \(epoch) has ended (\(state))")
    }
    guard manifest.uuid == folder.uuid, manifest.epoch == epoch else {
      throw .invalid("the manifest is of epoch \(manifest.epoch) of \(manifest.uuid), not \(epoch) of \(folder.uuid)")
    }
    do {
      var manifest = manifest
      let trailer = sealed.trailer
      manifest.format = EpochFormat.version
      manifest.bytes = trailer.fileBytes
      manifest.pages = Int(trailer.dataPages)
      manifest.zeroPages = Int(trailer.zeroPages)
      manifest.file = EpochName.file(epoch)
      manifest.fileHash = ManifestFile.hexadecimal(trailer.hash)
      manifest.needs = sealed.needs
      try folder.publish(bytes: try ManifestFile.encode(manifest), as: manifestPath)
      state = .published
      HashCache(folder: folder, epoch: epoch, fileHash: trailer.hash).write(hashes, over: base)
      nextBase = EpochBase(folder: folder, epoch: epoch, fileHash: manifest.fileHash, hashes: hashes)
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
  private func writeIndex() throws(StoreError) -> Sealed {
    let start = end.load(ordering: .relaxed)
    var trailer = EpochTrailer(epoch: UInt32(epoch), indexOffset: start)
    trailer.recordEntries = UInt64(records.count)
    let output = IndexOutput(file: file, offset: start, epoch: UInt32(epoch))
    var merge = IndexMerge(own: entries, base: inherited, hashes: hashes)
    entries = []
    try merge.run(into: output)
    (trailer.pageEntries, trailer.dataPages, trailer.zeroPages) = (output.entries, output.dataPages, output.zeroPages)
    for record in records { try output.add(record) }
    trailer.indexHash = try output.finish()
    trailer.headerHash = EpochHeader(uuid: folder.uuid, epoch: epoch).hash
    try file.write(trailer.encode(), at: start + trailer.indexBytes)
    return Sealed(trailer: trailer, needs: output.needs.map(Int.init).sorted())
  }

  private var finalPath: String { folder.path + "/" + EpochName.file(epoch) }
  private var partialPath: String { finalPath + EpochName.partial }
  private var manifestPath: String { folder.path + "/" + EpochName.manifest(epoch) }

  private func requireOpen() throws(StoreError) {
    guard state == .open, sealed == nil else { throw .invalid("the writer of epoch \(epoch) has ended (\(state))") }
  }
}
