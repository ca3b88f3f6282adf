import Foundation
import Testing

@testable import EpochStore

@Suite("An epoch of which little is left in many files")
struct RelocationTests {
  private let store: TemporaryStore
  init() throws { store = try TemporaryStore() }

  private func read(_ epoch: Int) throws -> Image {
    let reader = try store.folder.open(epoch: epoch)
    try reader.verify(threads: 2)
    return try Image.read(reader, threads: 2)
  }

  /// Epochs that each change one page of a group of their own, and leave two pages of it that they wrote: `count` files, two pages of each.
  private func publishChain(_ count: Int) throws -> Image {
    var (image, random) = (Image(), Random(5))
    for epoch in 1...count {
      var changed: [UInt64: Image.Page] = [:]
      for pfn in 0..<2 as Range<UInt64> { changed[UInt64(epoch) * 16 + pfn] = random.noise() }
      changed[0] = random.noise()
      image.pages.merge(changed) { $1 }
      let writer = try store.folder.create(epoch: epoch, reserving: 1 << 20, base: store.folder.base())
      try Image(pages: changed).append(to: writer)
      _ = try writer.publish(store.manifest(epoch))
    }
    return image
  }

  /// The next epoch, which changes nothing but what it is given.
  private func publish(
    _ epoch: Int, _ changed: [UInt64: Image.Page] = [:], removing: [UInt64] = [], reserving: UInt64 = 1 << 20,
    beyond files: Int, pages: Int
  ) throws -> (manifest: EpochManifest, relocated: Int) {
    let writer = try store.folder.create(epoch: epoch, reserving: reserving, base: store.folder.base())
    try writer.remove(removing)
    try Image(pages: changed).append(to: writer)
    let relocated = try writer.relocate(beyond: files, pages: pages)
    return (try writer.publish(store.manifest(epoch)), relocated)
  }

  @Test(
    "needs no more of them than it may, whatever changes, and every epoch is what it was",
    arguments: [1, 2, 3] as [UInt64])
  func model(seed: UInt64) throws {
    var random = Random(seed)
    var model = random.image(pages: 400)
    var history: [Image] = []
    var base: EpochBase?
    var relocated = 0
    for epoch in 1...40 {
      if epoch % 3 == 0 { base = try store.folder.base(threads: 2) }
      let writer = try store.folder.create(epoch: epoch, reserving: 16 << 20, base: base)
      if epoch == 1 { try model.append(to: writer) }
      for _ in 0..<2 { try random.change(&model, in: writer, original: history.last) }
      relocated += try writer.relocate(beyond: 5, pages: 300)
      let manifest = try writer.publish(store.manifest(epoch))
      #expect(manifest.needs.count <= 5, "epoch \(epoch)")
      #expect(manifest.pages + manifest.zeroPages == model.pages.count)
      base = writer.nextBase
      #expect(try base?.agrees(with: model) == true)
      history.append(model)
    }
    #expect(relocated > 0)
    for (index, image) in history.enumerated() { #expect(try read(index + 1) == image, "epoch \(index + 1)") }
    _ = try store.folder.remove(epochs: Set(1..<40))
    #expect(try store.folder.names().count { $0.suffix == .file } <= 6)
    #expect(try read(40) == model)
  }

  @Test("takes over whole files, the emptiest first, as far as its budget goes") func budget() throws {
    let image = try publishChain(10)
    // Of the first nine files two pages each are left, of the tenth three.
    let (manifest, relocated) = try publish(11, beyond: 4, pages: 9)
    #expect(relocated == 8)
    #expect(manifest.needs == [5, 6, 7, 8, 9, 10])
    #expect(try read(11) == image)
  }

  @Test("leaves them alone while they are few") func few() throws {
    let image = try publishChain(4)
    let (manifest, relocated) = try publish(5, beyond: 4, pages: 100)
    #expect(relocated == 0 && manifest.needs == [1, 2, 3, 4])
    #expect(try read(5) == image)
  }

  @Test("takes over only what it still has of them") func replaced() throws {
    var image = try publishChain(6)
    // Of the first file's pages one is written anew and one is given back: nothing is left to take over.
    let page = Random(77).fixedPage()
    image.pages[16] = page
    image.pages[17] = nil
    let (manifest, relocated) = try publish(7, [16: page], removing: [17], beyond: 5, pages: 100)
    #expect(relocated == 2 && manifest.needs == [3, 4, 5, 6])
    #expect(try read(7) == image)
  }

  @Test("writes no more than was set aside for it") func reserve() throws {
    let image = try publishChain(10)
    let (manifest, relocated) = try publish(11, reserving: 12 << 10, beyond: 2, pages: 100)
    #expect(relocated == 2 && manifest.needs.count == 9)
    #expect(manifest.bytes <= 12 << 10)
    #expect(try read(11) == image)
  }

  @Test("is not made when what it needs is damaged, and no epoch is made on that any more") func damaged() throws {
    let image = try publishChain(6)
    let index = try store.folder.open(epoch: 6).index
    let entry = try #require((0..<index.pageEntries).map { index[$0] }.first { $0.epoch == 1 })
    let file = Tamper(path: store.path("00000001.epoch"))
    let place = Int(entry.needed.lowerBound) + 1
    let byte = try file.read()[place]
    try file.write([byte ^ 1], at: place)
    let error = try #require(throws: StoreError.self) { try publish(7, beyond: 4, pages: 100) }
    #expect(error.isDamage && "\(error)".contains("00000001.epoch"))
    // Each of the six has pages of the first file.
    #expect(try (1...6).allSatisfy { try store.folder.verdict($0)?.isDamaged == true })
    #expect(try store.folder.newestSoundEpoch() == nil && store.folder.base() == nil)
    try file.write([byte], at: place)
    #expect(try read(6) == image)
  }

  @Test("stops when it is told to, and is right all the same") func stopped() throws {
    let image = try publishChain(6)
    let writer = try store.folder.create(epoch: 7, reserving: 1 << 20, base: store.folder.base())
    #expect(try writer.relocate(beyond: 2, pages: 100, shouldStop: { true }) == 0)
    _ = try writer.publish(store.manifest(7))
    #expect(try read(7) == image)
  }
}

extension Random {
  /// Another page each time.
  fileprivate mutating func noise() -> Image.Page {
    state &+= 1
    return fixedPage()
  }
}
