import Testing

@testable import EpochStore

@Suite struct RoundTripTests {
  @Test(arguments: [1, 2, 3, 4, 5, 6] as [UInt64])
  func whatGoesInComesOut(seed: UInt64) throws {
    var random = Random(seed)
    let image = random.image(pages: 200 + Int(seed) * 150)
    let store = try TemporaryStore()
    let manifest = try store.publish(image, epoch: 1)
    #expect(manifest.zeroPages == image.zeroCount)
    #expect(manifest.pages + manifest.zeroPages == image.pages.count)

    let reader = try store.folder.open(epoch: 1)
    try reader.verify(threads: 2)
    #expect(try Image.read(reader) == image)
    #expect(try Image.read(reader, pagesPerBatch: 1024, threads: 2) == image)
    #expect(reader.manifest == manifest)
    #expect(reader.pageCount == image.pages.count && reader.zeroCount == image.zeroCount)
  }

  @Test func anEmptyImage() throws {
    let store = try TemporaryStore()
    try store.publish(Image(), epoch: 1)
    let reader = try store.folder.open(epoch: 1)
    try reader.verify()
    #expect(try Image.read(reader) == Image())
    #expect(reader.pageCount == 0)
  }

  @Test(arguments: [0, 15, 16, 0xf_ffff, 1 << 36, (1 << 40) - 1] as [UInt64], [false, true])
  func aSinglePage(pfn: UInt64, zero: Bool) throws {
    let store = try TemporaryStore()
    let bytes = (0..<4096).map { zero ? 0 : UInt8($0 % 251) }
    let image = Image(pages: [pfn: .init(type: 15, bytes: bytes)])
    let manifest = try store.publish(image, epoch: 1)
    let reader = try store.folder.open(epoch: 1)
    try reader.verify()
    #expect(try Image.read(reader, pagesPerBatch: 16) == image)
    #expect(manifest.zeroPages == (zero ? 1 : 0))
  }

  @Test func aPageAppendedAgainReplacesTheFirst() throws {
    var random = Random(7)
    let store = try TemporaryStore()
    let writer = try store.folder.create(epoch: 1, reserving: 0)
    var expected = random.image(pages: 300)
    try expected.append(to: writer)
    let known = expected.pages.keys.sorted()
    for _ in 0..<4 {
      var changed = Image()
      for _ in 0..<60 { changed.pages[known[Int.random(in: 0..<known.count, using: &random)]] = random.page() }
      // Pages that were not there before, in groups that were and in groups of their own.
      changed.pages[known[0] + UInt64.random(in: 0..<64, using: &random)] = random.page()
      try changed.append(to: writer)
      expected.pages.merge(changed.pages) { $1 }
    }
    // One whole group turns to zero: its frame stays in the file without a page.
    let group = known[100] / 16
    let zeros = Image(
      pages: expected.pages.filter { $0.key / 16 == group }.mapValues { _ in
        .init(type: 0, bytes: [UInt8](repeating: 0, count: 4096))
      })
    try zeros.append(to: writer)
    expected.pages.merge(zeros.pages) { $1 }

    _ = try writer.publish(store.manifest(1))
    let reader = try store.folder.open(epoch: 1)
    try reader.verify(threads: 2)
    #expect(try Image.read(reader) == expected)
    #expect(reader.zeroCount == expected.zeroCount)
  }

  @Test func recordsKeepOrderAndBytes() throws {
    var random = Random(9)
    let store = try TemporaryStore()
    let records = [
      StoredRecord(type: 9, body: [1, 2, 3]), StoredRecord(type: 1, body: []), StoredRecord(type: 9, body: [1, 2, 3]),
      // Longer than what verify reads in one go.
      StoredRecord(type: .max, body: [UInt8](repeating: 7, count: 9 << 20)), StoredRecord(type: 2, body: []),
    ]
    try store.publish(random.image(pages: 50), epoch: 1, records: records)
    let reader = try store.folder.open(epoch: 1)
    try reader.verify(threads: 2)
    #expect(try reader.records() == records)
  }

  @Test func theIndexCostsAtMostOneHundredth() throws {
    // The worst case: every page alone in its group.
    let lonely = Image(
      pages: Dictionary(
        uniqueKeysWithValues: (0..<100).map { (UInt64($0 * 16), Random(UInt64($0)).fixedPage()) }))
    let store = try TemporaryStore()
    try store.publish(lonely, epoch: 1)
    let reader = try store.folder.open(epoch: 1)
    #expect(reader.trailer.indexBytes * 100 <= UInt64(100 * 4096))
  }

  @Test func theReserveCoversTheWorstCase() throws {
    let lonely = Image(
      pages: Dictionary(
        uniqueKeysWithValues: (0..<100).map { (UInt64($0 * 16), Random(UInt64($0)).fixedPage()) }))
    let store = try TemporaryStore()
    let manifest = try store.publish(lonely, epoch: 1, records: [StoredRecord(type: 1, body: [1, 2, 3])])
    #expect(manifest.bytes == EpochFormat.worstCaseBytes(pages: 100, records: 1, recordBytes: 3))
  }

  @Test(arguments: [[5, 5], [6, 5], [1 << 40]] as [[UInt64]])
  func pagesOutOfOrderAreRefused(pfns: [UInt64]) throws {
    let store = try TemporaryStore()
    let writer = try store.folder.create(epoch: 1, reserving: 0)
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: pfns.count * 4096, alignment: 4096)
    defer { bytes.deallocate() }
    let types = [UInt8](repeating: 0, count: pfns.count)
    pfns.withUnsafeBufferPointer { pfns in
      types.withUnsafeBufferPointer { types in
        let staged = StagedPages(pfns: pfns, types: types, pages: UnsafeRawBufferPointer(bytes))
        #expect(throws: StoreError.self) { try writer.append(staged) }
      }
    }
  }
}

extension Random {
  /// A page of noise.
  func fixedPage() -> Image.Page {
    var random = self
    return Image.Page(type: 0, bytes: (0..<4096).map { _ in UInt8.random(in: 0...255, using: &random) })
  }
}
