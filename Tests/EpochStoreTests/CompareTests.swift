import Testing

@testable import EpochStore

@Suite("Two epochs compared")
struct CompareTests {
  /// What the images say, page by page.
  private func expected(_ older: Image, _ younger: Image) -> [UInt64: PageChange] {
    var result: [UInt64: PageChange] = [:]
    for pfn in Set(older.pages.keys).union(younger.pages.keys) {
      switch (older.pages[pfn], younger.pages[pfn]) {
      case (nil, _): result[pfn] = .added
      case (_, nil): result[pfn] = .removed
      case (let old?, let new?): if old.bytes != new.bytes { result[pfn] = .changed }
      }
    }
    return result
  }

  private func found(_ older: EpochReader, _ younger: EpochReader) throws -> [UInt64: PageChange] {
    var result: [UInt64: PageChange] = [:]
    var last: UInt64?
    try younger.forEachChange(since: older) { pfn, change in
      #expect(last.map { $0 < pfn } ?? true)
      last = pfn
      result[pfn] = change
    }
    return result
  }

  @Test("Every difference is found, whether or not the epochs share frames", arguments: [true, false])
  func all(sharing: Bool) throws {
    var random = Random(sharing ? 11 : 12)
    let store = try TemporaryStore()
    var images = [random.image(pages: 700)]
    try store.publish(images[0], epoch: 1)
    for epoch in 2...4 {
      var image = images[epoch - 2]
      for pfn in image.pages.keys where Int.random(in: 0..<5, using: &random) == 0 { image.pages[pfn] = random.page() }
      if !sharing {
        for pfn in image.pages.keys where Int.random(in: 0..<9, using: &random) == 0 { image.pages[pfn] = nil }
        for pfn in 3...50 as ClosedRange<UInt64> { image.pages[pfn] = random.page() }
      }
      images.append(image)
      try store.publish(image, epoch: epoch, base: sharing ? store.folder.base() : nil)
    }
    let readers = try (1...4).map { try store.folder.open(epoch: $0) }
    for older in 0..<4 {
      for younger in 0..<4 {
        #expect(
          try found(readers[older], readers[younger]) == expected(images[older], images[younger]), "\(older) \(younger)"
        )
      }
    }
  }

  @Test("Groups tell the pages of an epoch without reading one") func groups() throws {
    var random = Random(13)
    let store = try TemporaryStore()
    let image = random.image(pages: 300)
    try store.publish(image, epoch: 1)
    var pfns: [UInt64] = []
    try store.folder.open(epoch: 1).forEachGroup { first, pages in
      for slot in 0..<16 as Range<UInt64> where pages >> UInt16(slot) & 1 == 1 { pfns.append(first + slot) }
    }
    #expect(pfns == image.pages.keys.sorted())
  }
}
