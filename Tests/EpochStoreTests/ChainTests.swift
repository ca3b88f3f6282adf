import Foundation
import Glibc
import Testing

@testable import EpochStore

/// Epochs that name the files of older ones.
@Suite struct ChainTests {
  private let store: TemporaryStore
  init() throws { store = try TemporaryStore() }

  /// Three pages in three groups, published as epoch 1.
  private let three = Image(
    pages: [1: Random(1).fixedPage(), 20: Random(2).fixedPage(), 40: Random(3).fixedPage()])

  private func read(_ epoch: Int) throws -> Image {
    let reader = try store.folder.open(epoch: epoch)
    try reader.verify(threads: 2)
    return try Image.read(reader, threads: 2)
  }

  /// Takes an epoch with the newest as base; returns its manifest.
  @discardableResult
  private func publish(_ epoch: Int, _ changed: [UInt64: Image.Page], removing: [UInt64] = []) throws -> EpochManifest {
    let writer = try store.folder.create(epoch: epoch, reserving: 0, base: store.folder.base())
    try writer.remove(removing)
    try Image(pages: changed).append(to: writer)
    return try writer.publish(store.manifest(epoch))
  }

  // MARK: Against a model

  @Test(arguments: [1, 2, 3] as [UInt64])
  func everyEpochOfAChainComesBack(seed: UInt64) throws {
    var random = Random(seed)
    var model = random.image(pages: 400)
    var history: [Image] = []
    var base: EpochBase?
    for epoch in 1...40 {
      // A process that stays keeps what the writer hands over; one that starts asks the folder.
      if epoch % 3 == 0 { base = try store.folder.base(threads: 2) }
      let writer = try store.folder.create(epoch: epoch, reserving: 0, base: base)
      if epoch == 1 { try model.append(to: writer) }
      for _ in 0..<Int.random(in: 1...3, using: &random) {
        try random.change(&model, in: writer, original: history.last)
      }
      let manifest = try writer.publish(store.manifest(epoch))
      #expect(manifest.pages + manifest.zeroPages == model.pages.count)
      #expect(manifest.zeroPages == model.zeroCount)
      #expect(manifest.needs.allSatisfy { $0 < epoch })
      base = writer.nextBase
      #expect(try base?.agrees(with: model) == true)
      history.append(model)
    }
    for (index, image) in history.enumerated() {
      #expect(try read(index + 1) == image, "epoch \(index + 1)")
    }
    #expect(try store.folder.manifest(40).needs.count > 10)
  }

  /// An index that is inherited in several pieces, most of it as it stands.
  @Test func aLargeIndexIsInherited() throws {
    let zero = Image.Page(type: 0, bytes: [UInt8](repeating: 0, count: 4096))
    var model = Image()
    for group in 0..<3500 as Range<UInt64> { model.pages[group * 16] = zero }
    try store.publish(model, epoch: 1)
    var random = Random(8)
    var base = try #require(try store.folder.base())
    for epoch in 2...8 {
      var changed: [UInt64: Image.Page] = [:]
      for _ in 0..<40 { changed[UInt64.random(in: 0..<3500, using: &random) * 16 + random.next() % 3] = random.page() }
      let writer = try store.folder.create(epoch: epoch, reserving: 0, base: base)
      try Image(pages: changed).append(to: writer)
      model.pages.merge(changed) { $1 }
      // A frame of the base that only covers bytes is not inherited.
      changed = changed.mapValues { _ in zero }.filter { $0.key % 5 == 0 }
      try Image(pages: changed).append(to: writer)
      model.pages.merge(changed) { $1 }
      _ = try writer.publish(store.manifest(epoch))
      base = try #require(writer.nextBase)
      #expect(try read(epoch) == model, "epoch \(epoch)")
    }
    #expect(try store.folder.open(epoch: 8).index.pageEntries > 3500)
  }

  @Test func aPageThatTurnsBackWithinAnEpoch() throws {
    try store.publish(three, epoch: 1)
    let writer = try store.folder.create(epoch: 2, reserving: 0, base: store.folder.base())
    try Image(pages: [20: Random(9).fixedPage()]).append(to: writer)
    try Image(pages: [20: Random(2).fixedPage()]).append(to: writer)
    _ = try writer.publish(store.manifest(2))
    #expect(try read(2) == three)
  }

  @Test func aRemovedPageThatComesBackAsItWas() throws {
    try store.publish(three, epoch: 1)
    let writer = try store.folder.create(epoch: 2, reserving: 0, base: store.folder.base())
    try writer.remove([1, 20, 21, 1 << 39])
    #expect(!writer.holds(20) && writer.pageCount == 1)
    try Image(pages: [20: Random(2).fixedPage()]).append(to: writer)
    _ = try writer.publish(store.manifest(2))
    #expect(try read(2).pages.keys.sorted() == [20, 40])
    #expect(try read(2).pages[20] == three.pages[20])
  }

  @Test func aPageRemovedInTheEpochThatBroughtIt() throws {
    let writer = try store.folder.create(epoch: 1, reserving: 0)
    try three.append(to: writer)
    try writer.remove([20])
    _ = try writer.publish(store.manifest(1))
    #expect(try read(1).pages.keys.sorted() == [1, 40])
  }

  // MARK: What is stored

  @Test func unchangedContentIsNotStoredAgain() throws {
    var random = Random(5)
    var image = random.image(pages: 500)
    try store.publish(image, epoch: 1)
    // Only a type differs.
    let page = try #require(image.pages.keys.min())
    image.pages[page]?.type ^= 1
    let writer = try store.folder.create(epoch: 2, reserving: 0, base: store.folder.base())
    #expect(
      try image.append(to: writer) == .init(pages: image.pages.count, unchanged: image.pages.count))
    let manifest = try writer.publish(store.manifest(2))
    #expect(manifest.needs == [1])
    #expect(try store.folder.open(epoch: 2).trailer.indexOffset == UInt64(EpochFormat.headerBytes))
    #expect(try read(2) == image)
  }

  @Test func onlyWhatChangedIsStored() throws {
    try store.publish(three, epoch: 1)
    let writer = try store.folder.create(epoch: 2, reserving: 0, base: store.folder.base())
    var image = three
    image.pages[20] = Random(7).fixedPage()
    image.pages[40] = .init(type: 0, bytes: [UInt8](repeating: 0, count: 4096))
    let appended = try image.append(to: writer)
    #expect(appended == .init(pages: 3, stored: 1, zero: 1, unchanged: 1, storedBytes: 4126))
    #expect(try writer.publish(store.manifest(2)).bytes < 5000)
    #expect(try read(2) == image)
  }

  @Test func anEpochWithoutABaseNeedsNoOther() throws {
    try store.publish(three, epoch: 1)
    #expect(try store.publish(three, epoch: 2).needs == [])
    unlink(store.path("00000001.epoch"))
    #expect(try read(2) == three)
  }

  /// Scattered single pages, the worst that a chain can do to its index.
  @Test func theIndexOfAChainCostsAtMostOneHundredth() throws {
    var random = Random(6)
    var image = Image()
    for pfn in 0..<640 { image.pages[UInt64(pfn)] = Random(UInt64(pfn)).fixedPage() }
    try store.publish(image, epoch: 1)
    for epoch in 2...40 {
      var changed: [UInt64: Image.Page] = [:]
      for group in 0..<40 {
        changed[UInt64(group * 16) + random.next() % 16] = Random(random.next()).fixedPage()
      }
      try publish(epoch, changed)
    }
    let reader = try store.folder.open(epoch: 40)
    #expect(reader.trailer.indexBytes * 100 <= UInt64(reader.pageCount * 4096))
    #expect(reader.trailer.pageEntries > 300)
  }

  // MARK: Files

  @Test func onlyTheFilesThatAreNeededAreOpened() throws {
    try store.publish(three, epoch: 1)
    try publish(2, [20: Random(7).fixedPage()])
    try publish(3, [20: Random(8).fixedPage()])
    let manifest = try publish(4, [40: Random(9).fixedPage()])
    #expect(manifest.needs == [1, 3])
    for name in ["00000002.epoch", "00000002.json", "00000001.json", "00000003.json", "hashes"] {
      unlink(store.path(name))
    }
    let expected = Image(pages: [1: Random(1).fixedPage(), 20: Random(8).fixedPage(), 40: Random(9).fixedPage()])
    #expect(try read(4) == expected)
    #expect(try store.folder.base()?.agrees(with: expected) == true)
  }

  @Test func aMissingFileIsNamed() throws {
    try store.publish(three, epoch: 1)
    try publish(2, [20: Random(7).fixedPage()])
    unlink(store.path("00000001.epoch"))
    let error = StoreError.damaged(
      path: store.path("00000001.epoch"), what: "it is gone, though epoch 2 needs it")
    #expect(throws: error) { try store.folder.open(epoch: 2) }
    #expect(try store.folder.base() == nil)
  }

  /// Every byte of an older file: one that the epoch uses is found and its file named, any other changes nothing.
  @Test func anyByteOfANeededFileFlipped() throws {
    var old = three
    // The frame of group 0 keeps a page that the next epoch uses, and one that it does not.
    old.pages[2] = .init(type: 0, bytes: [UInt8](repeating: 7, count: 4096))
    old.pages[1]?.bytes.replaceSubrange(600..., with: [UInt8](repeating: 0, count: 3496))
    try store.publish(old, epoch: 1)
    try publish(2, [2: Random(7).fixedPage(), 20: Random(8).fixedPage()])
    let index = try store.folder.open(epoch: 2).index
    var used = Set(0..<EpochFormat.headerBytes)
    for number in 0..<index.pageEntries where index[number].epoch == 1 {
      used.formUnion(Int(index[number].offset)..<Int(index[number].offset + index[number].frameBytes))
    }
    let expected = try read(2)
    let file = Tamper(path: store.path("00000001.epoch"))
    for (offset, byte) in try file.read().enumerated() {
      try file.write([byte ^ 1 << UInt8(offset % 8)], at: offset)
      if used.contains(offset) {
        let error = #expect(throws: StoreError.self, "byte \(offset)") { try read(2) }
        guard case .damaged(file.path, _) = error else {
          Issue.record("byte \(offset): \(String(describing: error))")
          return
        }
        #expect(throws: StoreError.self) { try Image.read(store.folder.open(epoch: 2)) }
      } else if offset % 37 == 0 {
        #expect(try read(2) == expected, "byte \(offset)")
      }
      try file.write([byte], at: offset)
    }
  }

  @Test func theManifestMustNameTheFilesThatTheIndexNeeds() throws {
    try store.publish(three, epoch: 1)
    var manifest = try publish(2, [20: Random(7).fixedPage()])
    manifest.needs = []
    try store.folder.publish(bytes: try ManifestFile.encode(manifest), as: store.path("00000002.json"))
    #expect(throws: StoreError.self) { try store.folder.open(epoch: 2) }
  }

  /// More files than a process may open.
  @Test func aLongChainNeedsFewDescriptors() async {
    await #expect(processExitsWith: .success) {
      let store = try TemporaryStore()
      var base: EpochBase?
      var image = Image()
      for epoch in 1...150 {
        let page = Image.Page(type: 1, bytes: [UInt8](repeating: UInt8(epoch), count: 4096))
        image.pages[UInt64(epoch * 7)] = page
        let writer = try store.folder.create(epoch: epoch, reserving: 0, base: base)
        try Image(pages: [UInt64(epoch * 7): page]).append(to: writer)
        _ = try writer.publish(store.manifest(epoch))
        base = writer.nextBase
      }
      // Beyond what this process got from the one that runs all tests, side by side.
      let inherited =
        try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").compactMap { rlim_t($0) }.max() ?? 2
      var limit = rlimit(rlim_cur: inherited + 100, rlim_max: inherited + 100)
      setrlimit(__rlimit_resource_t(7), &limit)  // RLIMIT_NOFILE
      let reader = try store.folder.open(epoch: 150)
      try reader.verify(threads: 2)
      guard reader.manifest.needs.count == 149, try Image.read(reader, threads: 2) == image else { exit(2) }
    }
  }
}

extension EpochBase {
  /// True when the base knows exactly the pages of an image.
  func agrees(with image: Image) throws -> Bool {
    var pfns: [UInt64] = []
    forEachPFN { pfns.append($0) }
    guard pfns == image.pages.keys.sorted(), pageCount == pfns.count else { return false }
    return image.pages.allSatisfy { pfn, page in
      var other = page.bytes
      other[Int(pfn % 4096)] ^= 1
      return holds(pfn) && !holds(pfn ^ 1 << 39)
        && page.bytes.withUnsafeBytes { isUnchanged(pfn, $0.baseAddress!, type: page.type) }
        && page.bytes.withUnsafeBytes { !isUnchanged(pfn, $0.baseAddress!, type: page.type ^ 1) }
        && other.withUnsafeBytes { !isUnchanged(pfn, $0.baseAddress!, type: page.type) }
    }
  }
}

extension Random {
  /// One round of an epoch: pages change, turn to zero, change their type alone, stay as they are, turn back to what
  /// the last epoch had, go and come.
  mutating func change(_ model: inout Image, in writer: EpochWriter, original: Image?) throws {
    let known = model.pages.keys.sorted()
    var changed = Image()
    for _ in 0..<15 {
      let pfn = known[Int.random(in: 0..<known.count, using: &self)]
      switch Int.random(in: 0..<6, using: &self) {
      case 0, 1: changed.pages[pfn] = page()
      case 2: changed.pages[pfn] = .init(type: 0, bytes: [UInt8](repeating: 0, count: 4096))
      case 3: changed.pages[pfn] = .init(type: UInt8.random(in: 0...15, using: &self), bytes: model.pages[pfn]!.bytes)
      case 4: changed.pages[pfn] = original?.pages[pfn] ?? model.pages[pfn]!
      default: changed.pages[pfn + UInt64.random(in: 0..<40, using: &self)] = page()
      }
    }
    let removed = (0..<4).map { _ in known[Int.random(in: 0..<known.count, using: &self)] }
    try writer.remove(removed)
    for pfn in removed { model.pages[pfn] = nil }
    try changed.append(to: writer)
    model.pages.merge(changed.pages) { $1 }
  }
}
