/// What a published epoch holds: which pages, and each page's type and content hash. The next epoch of the guest is
/// told it, stores only what differs, and names this epoch's files for the rest.
///
/// Does not change any more; every call is safe from any thread. Takes 8.5 bytes per page of guest memory.
public final class EpochBase: Sendable {
  public let epoch: Int
  let folder: GuestFolder
  /// The checksum that closes the epoch's file, as its manifest has it: no other file can be meant.
  public let fileHash: String
  let hashes: PageHashes

  init(folder: GuestFolder, epoch: Int, fileHash: String, hashes: PageHashes) {
    self.folder = folder
    self.epoch = epoch
    self.fileHash = fileHash
    self.hashes = hashes
  }

  /// Pages of the epoch, zero pages among them.
  public var pageCount: Int { hashes.count }

  public func holds(_ pfn: UInt64) -> Bool { hashes[pfn] != 0 }

  /// True when the page, 4096 bytes as they would be stored, has the content and the type that the epoch holds.
  /// Allocates nothing and takes no lock: made for the pause.
  public func isUnchanged(_ pfn: UInt64, _ page: UnsafeRawPointer, type: UInt8) -> Bool {
    hashes.isUnchanged(pfn, page, type: type)
  }

  /// The pages of the epoch in ascending order.
  public func forEachPFN(_ body: (UInt64) -> Void) { hashes.forEachPFN(body) }
}

extension PageHashes {
  @inline(__always)
  func isUnchanged(_ pfn: UInt64, _ page: UnsafeRawPointer, type: UInt8) -> Bool {
    let known = self[pfn]
    return known != 0 && self.type(pfn) == type && known == Self.hash(page)
  }
}

extension GuestFolder {
  /// The newest published epoch that is not known to be damaged as the base of the next; nil when there is none, or when
  /// it cannot be read or trusted: then the next epoch must hold every page. The caller holds the exclusive lock.
  ///
  /// The hashes come from the folder's cache file. When that is missing, torn, damaged or of another epoch, they
  /// are made again by reading all pages of the epoch, on `threads` threads.
  ///
  /// Throws only when the folder itself cannot be listed.
  public func base(threads: Int = 1) throws(StoreError) -> EpochBase? {
    guard let newest = try newestSoundEpoch() else { return nil }
    return try? base(epoch: newest, threads: threads)
  }

  /// An epoch as the base of another, younger one.
  ///
  /// - Parameter mayGoOn: called again and again while pages are read; ends that by throwing.
  /// - Throws: when it cannot be read or trusted.
  public func base(epoch: Int, threads: Int = 1, mayGoOn: () throws -> Void = {}) throws -> EpochBase {
    let reader = try open(epoch: epoch)
    let cache = HashCache(folder: self, epoch: epoch, fileHash: reader.trailer.hash)
    if let hashes = cache.read(), hashes.agrees(with: reader.index) { return reader.base(hashes) }
    let hashes = try reader.hashPages(threads: threads, mayGoOn)
    // The cache is for the next take, which builds on the newest.
    if try newestSoundEpoch() == epoch { cache.write(hashes) }
    return reader.base(hashes)
  }
}

extension EpochReader {
  fileprivate func base(_ hashes: PageHashes) -> EpochBase {
    EpochBase(folder: folder, epoch: manifest.epoch, fileHash: manifest.fileHash, hashes: hashes)
  }

  fileprivate func hashPages(threads: Int, _ mayGoOn: () throws -> Void) throws -> PageHashes {
    let hashes = PageHashes()
    try forEachBatch(threads: threads) { batch in
      try mayGoOn()
      for index in batch.pfns.indices {
        let pfn = batch.pfns[index]
        let page = batch.bytes.baseAddress.unsafelyUnwrapped + index * EpochFormat.pageSize
        hashes.own(pfn)
        _ = hashes.replace(pfn, PageHashes.hash(page), type: batch.types[index])
      }
      hashes.count += batch.pfns.count
    }
    return hashes
  }
}

extension PageHashes {
  /// True when the index answers for exactly these pages with exactly these types.
  fileprivate func agrees(with index: EpochIndex) -> Bool {
    var start = 0
    var pages = 0
    while start < index.pageEntries {
      let range = index.group(from: start)
      var held: UInt16 = 0
      var types: UInt64 = 0
      for number in range {
        let entry = index[number]
        held |= entry.data | entry.zero
        types |= entry.types
      }
      guard group(index[start].group) == (held, types) else { return false }
      pages += held.nonzeroBitCount
      start = range.upperBound
    }
    return pages == count
  }
}
