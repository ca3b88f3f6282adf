import Glibc
import Testing

@testable import EpochStore

/// What the next epoch is told about the newest, and the cache file that it comes from.
@Suite struct BaseTests {
  private let store: TemporaryStore
  private let image: Image
  private let cache: Tamper

  init() throws {
    store = try TemporaryStore()
    var random = Random(11)
    image = random.image(pages: 60)
    try store.publish(image, epoch: 1)
    cache = Tamper(path: store.path("hashes"))
  }

  /// The base is right, and the cache afterwards is believed: the damaged page does not have to be read.
  private func expectRight(_ expected: Image, _ comment: Comment) throws {
    let base = try #require(try store.folder.base(), comment)
    #expect(try base.agrees(with: expected), comment)
    let newest = try #require(try store.folder.epochs().epochs.last)
    let hash = try store.folder.open(epoch: newest.epoch).trailer.hash
    #expect(HashCache(folder: store.folder, epoch: newest.epoch, fileHash: hash).read() != nil, comment)
  }

  @Test func thereIsNoneWithoutAnEpoch() throws {
    let folder = try store.store.folder(uuid: "11111111-2222-3333-4444-555555555555", create: true)
    #expect(try folder.base() == nil)
  }

  @Test func aGoodCacheSavesReadingThePages() throws {
    let frame = try #require(try store.folder.open(epoch: 1).firstFrame)
    let file = Tamper(path: store.path("00000001.epoch"))
    try file.write([try file.read()[frame] ^ 1], at: frame)
    #expect(try store.folder.base()?.agrees(with: image) == true)
    // Without it the page must be read, and nobody may build on it.
    unlink(cache.path)
    #expect(try store.folder.base() == nil)
  }

  @Test func aMissingCacheIsMadeAgain() throws {
    unlink(cache.path)
    try expectRight(image, "missing")
    #expect(mode(cache.path) == 0o600)
  }

  @Test func aTornCacheIsMadeAgain() throws {
    let size = try cache.read().count
    for length in [0, 1, 55, 56, 63, 64, 4000, size / 2, size - 8, size - 1] {
      cache.cut(to: length)
      try expectRight(image, "\(length) bytes")
    }
    try cache.write([0], at: size)
    try expectRight(image, "one byte more")
  }

  @Test func aDamagedCacheIsMadeAgain() throws {
    let good = try cache.read()
    for offset in Array(0..<72) + Array(stride(from: 72, to: good.count, by: 97)) + [good.count - 1] {
      try cache.write([good[offset] ^ 0x10], at: offset)
      try expectRight(image, "byte \(offset)")
      #expect(try cache.read() == good)
    }
  }

  @Test func aCacheOfAnOlderEpochIsMadeAgain() throws {
    let old = try cache.read()
    var changed = image
    changed.pages[try #require(image.pages.keys.min())] = Random(3).fixedPage()
    try store.publish(changed, epoch: 2, base: store.folder.base())
    cache.cut(to: 0)
    try cache.write(old)
    try expectRight(changed, "stale")
  }

  /// Another store has an epoch of the same number of the same guest.
  @Test func aCacheOfAnotherStoreIsMadeAgain() throws {
    let other = try TemporaryStore()
    var changed = image
    changed.pages[try #require(image.pages.keys.min())] = Random(3).fixedPage()
    try other.publish(changed, epoch: 1)
    cache.cut(to: 0)
    try cache.write(try Tamper(path: other.path("hashes")).read())
    try expectRight(image, "foreign")
  }

  /// Found by the fuzzer: all names and checksums right, and a page in a group that the epoch does not have. A guest's page of that
  /// content would have counted as known and been stored nowhere.
  @Test func aCacheWithAPageTooManyIsMadeAgain() throws {
    let good = try cache.read()
    let hash = try store.folder.open(epoch: 1).trailer.hash
    let file = HashCache(folder: store.folder, epoch: 1, fileHash: hash)
    let hashes = try #require(file.read())
    let pfn = try #require(image.pages.keys.max()) + 1000
    hashes.own(pfn)
    _ = hashes.replace(pfn, 4711, type: 0)
    file.write(hashes)
    #expect(try cache.read() != good)
    #expect(file.read() == nil)
    try expectRight(image, "a page too many")
    #expect(try cache.read() == good)
  }

  // MARK: The cache of the base, brought up to date

  private func inode() -> UInt64 {
    var status = stat()
    return lstat(cache.path, &status) == 0 ? UInt64(status.st_ino) : 0
  }

  /// Publishes `image` on a base that a process kept; the cache must be as one that is made anew.
  private func publish(_ image: Image, epoch: Int, on base: EpochBase) throws -> EpochBase {
    let writer = try store.folder.create(epoch: epoch, reserving: 0, base: base)
    try image.append(to: writer)
    _ = try writer.publish(store.manifest(epoch))
    let written = try cache.read()
    unlink(cache.path)
    _ = try store.folder.base()
    #expect(try cache.read() == written)
    return try #require(writer.nextBase)
  }

  @Test func onlyChangedChunksAreWritten() throws {
    var base = try #require(try store.folder.base())
    var image = image
    let known = image.pages.keys.sorted()
    for (epoch, pfn) in zip(2..., [known[0], known[30], known[59], known[0]]) {
      image.pages[pfn] = Random(UInt64(epoch)).fixedPage()
      let before = inode()
      let writer = try store.folder.create(epoch: epoch, reserving: 0, base: base)
      try Image(pages: [pfn: image.pages[pfn]!]).append(to: writer)
      _ = try writer.publish(store.manifest(epoch))
      #expect(inode() == before)
      base = try #require(writer.nextBase)
      let written = try cache.read()
      try expectRight(image, "epoch \(epoch)")
      unlink(cache.path)
      _ = try store.folder.base()
      #expect(try cache.read() == written)
    }
  }

  @Test func aPageInANewChunkMakesTheCacheAnew() throws {
    let base = try #require(try store.folder.base())
    var image = image
    image.pages[1 << 38] = Random(3).fixedPage()
    _ = try publish(image, epoch: 2, on: base)
    try expectRight(image, "grown")
  }

  /// The process that keeps a base finds a cache that is not the base's: of another epoch, damaged, half written.
  @Test func aCacheThatIsNotTheBasesIsNotBroughtUpToDate() throws {
    var image = image
    let pfn = try #require(image.pages.keys.min())
    image.pages[1 << 30] = Random(1).fixedPage()
    var base = try #require(try store.folder.base())
    var old: [UInt8] = []
    for epoch in 2...6 {
      image.pages[pfn] = Random(UInt64(epoch)).fixedPage()
      base = try publish(image, epoch: epoch, on: base)
      switch epoch {
      case 2: old = try cache.read()
      case 3: try cache.write(old)
      case 4: try cache.write([UInt8](repeating: 0, count: 64))
      case 5: cache.cut(to: old.count - 1)
      default: break
      }
    }
    // Damage in a chunk that is not written again is found when it is read.
    try cache.write([try cache.read()[old.count - 9] ^ 1], at: old.count - 9)
    image.pages[pfn] = Random(9).fixedPage()
    let writer = try store.folder.create(epoch: 7, reserving: 0, base: base)
    try Image(pages: [pfn: image.pages[pfn]!]).append(to: writer)
    _ = try writer.publish(store.manifest(7))
    let hash = try store.folder.open(epoch: 7).trailer.hash
    #expect(HashCache(folder: store.folder, epoch: 7, fileHash: hash).read() == nil)
    try expectRight(image, "damaged")
  }

  @Test func anEpochThatCannotBeTrustedIsNoBase() throws {
    try Tamper(path: store.path("00000001.json")).write([0], at: 10)
    #expect(try store.folder.base() == nil)
  }

  @Test func abandoningLeavesTheBaseAsItWas() throws {
    let base = try #require(try store.folder.base())
    let writer = try store.folder.create(epoch: 2, reserving: 0, base: base)
    var random = Random(12)
    var changed = image
    for pfn in image.pages.keys { changed.pages[pfn] = random.page() }
    try changed.append(to: writer)
    try writer.remove(image.pages.keys.sorted().prefix(20))
    #expect(try base.agrees(with: image))
    writer.abandon()
    #expect(writer.nextBase == nil)
    #expect(try base.agrees(with: image))

    let pfn = try #require(image.pages.keys.max())
    try store.publish(Image(pages: [pfn: Random(4).fixedPage()]), epoch: 3, base: base)
    var expected = image
    expected.pages[pfn] = Random(4).fixedPage()
    #expect(try Image.read(store.folder.open(epoch: 3)) == expected)
    #expect(try base.agrees(with: image))
  }

  @Test func theWriterKnowsTheEpochSoFar() throws {
    let pfn = try #require(image.pages.keys.min())
    let writer = try store.folder.create(epoch: 2, reserving: 0, base: store.folder.base())
    let page = Random(5).fixedPage()
    page.bytes.withUnsafeBytes { #expect(!writer.isUnchanged(pfn, $0.baseAddress!, type: 0)) }
    try Image(pages: [pfn: page]).append(to: writer)
    page.bytes.withUnsafeBytes { #expect(writer.isUnchanged(pfn, $0.baseAddress!, type: 0)) }
    #expect(writer.pageCount == image.pages.count)
  }

  @Test func aBaseWhoseFileChangedIsRefused() throws {
    let base = try #require(try store.folder.base())
    let path = store.path("00000001.epoch")
    let index = Int(try store.folder.open(epoch: 1).trailer.indexOffset)
    let file = Tamper(path: path)
    let good = try file.read()
    let error = StoreError.damaged(path: path, what: "its index does not match its checksum")
    for offset in stride(from: index, to: good.count - EpochFormat.trailerBytes, by: 13) {
      // After the writer began, at the last moment.
      let epoch = try store.folder.nextEpochNumber()
      let writer = try store.folder.create(epoch: epoch, reserving: 0, base: base)
      try file.write([good[offset] ^ 0x41], at: offset)
      #expect(throws: error, "byte \(offset)") { try writer.publish(store.manifest(epoch)) }
      try file.write([good[offset]], at: offset)
    }
    #expect(try store.folder.epochs().allNumbers == [1])
    try file.write([0], at: good.count - 1)
    #expect(throws: StoreError.self) { try store.folder.create(epoch: 9000, reserving: 0, base: base) }
    unlink(path)
    #expect(throws: StoreError.self) { try store.folder.create(epoch: 9001, reserving: 0, base: base) }
  }

  @Test func theBaseOfAnotherGuestIsRefused() throws {
    let other = try TemporaryStore()
    let base = try store.folder.base()
    #expect(throws: StoreError.self) { try other.folder.create(epoch: 2, reserving: 0, base: base) }
  }
}

extension EpochReader {
  /// Where the first frame names its first block.
  var firstFrame: Int? {
    (0..<index.pageEntries).first { index[$0].hasFrame }.map { Int(index[$0].head) + EpochFormat.frameHeaderBytes }
  }
}
