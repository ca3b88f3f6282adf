import Glibc
import Testing

@testable import EpochStore

/// Removing epochs, and giving back what only removed ones used.
@Suite struct RemovalTests {
  private let store: TemporaryStore
  /// Pages in groups of their own, so that each has a frame of its own: 1 MiB of noise.
  private let image = Image(
    pages: Dictionary(uniqueKeysWithValues: (0..<256).map { (UInt64($0) * 16, Random(UInt64($0)).fixedPage()) }))

  init() throws { store = try TemporaryStore() }

  /// Epoch 1 with all pages; 2 changes the first half, 3 the first page.
  private func publishThree() throws -> [Image] {
    var images = [image]
    try store.publish(image, epoch: 1)
    for epoch in 2...3 {
      var changed = Image()
      for pfn in image.pages.keys where pfn < (epoch == 2 ? 128 * 16 : 16) {
        changed.pages[pfn] = Random(pfn + UInt64(epoch) * 1000).fixedPage()
      }
      try store.publish(changed, epoch: epoch, base: store.folder.base())
      images.append(Image(pages: images[epoch - 2].pages.merging(changed.pages) { $1 }))
    }
    return images
  }

  private func expect(_ images: [Int: Image], _ comment: Comment) throws {
    #expect(try store.folder.overview().allNumbers == images.keys.sorted(), comment)
    for (epoch, image) in images {
      let reader = try store.folder.open(epoch: epoch)
      try reader.verify()
      #expect(try Image.read(reader) == image, comment)
    }
  }

  private func names() throws -> Set<String> { Set(try StoreName.list(store.folder.path)) }
  private func diskBytes() throws -> UInt64 {
    try names().filter { $0 != "counter" && $0 != "hashes" }.map { StoreName.diskBytes(store.path($0)) }.reduce(0, +)
  }

  // MARK: Removing

  @Test func whatYoungerEpochsNeedStays() throws {
    let images = try publishThree()
    let before = try diskBytes()
    let manifestBytes = StoreName.diskBytes(store.path("00000001.json"))
    let removal = try store.folder.remove(epochs: [1])
    #expect(removal.epochs == [1] && removal.retained == [1])
    #expect(removal.retainedBytes == StoreName.diskBytes(store.path("00000001.epoch")))
    #expect(removal.retainedBytes > 1 << 20)
    let after = try diskBytes()
    #expect(removal.freedBytes == before - after - manifestBytes)
    try expect([2: images[1], 3: images[2]], "1 removed")
    #expect(throws: StoreError.notFound("epoch 1 of guest \(uuid)")) { try store.folder.open(epoch: 1) }
    // A take sweeps before it begins.
    #expect(try store.folder.discardUnpublished() == [])
    try expect([2: images[1], 3: images[2]], "swept")
    #expect(try store.folder.epochs().allNumbers == [2, 3])
  }

  @Test func theLastOneWhoNeedsAFileTakesItAlong() throws {
    let images = try publishThree()
    _ = try store.folder.remove(epochs: [1])
    _ = try store.folder.remove(epochs: [2])
    #expect(
      try names() == ["counter", "hashes", "00000001.epoch", "00000002.epoch", "00000003.epoch", "00000003.json"])
    try expect([3: images[2]], "only 3")
    let files = try diskBytes() - StoreName.diskBytes(store.path("00000003.json"))
    let hashes = StoreName.diskBytes(store.path("hashes"))
    let removal = try store.folder.remove(epochs: [3])
    #expect(removal.retained == [] && removal.retainedBytes == 0)
    #expect(removal.freedBytes == files + hashes && files > 1 << 20 && hashes > 0)
    #expect(try names() == ["counter"])
    #expect(try store.folder.nextEpochNumber() == 4)
    #expect(try store.folder.base() == nil)
  }

  @Test func theNextTakeAfterTheNewestWasRemoved() throws {
    let images = try publishThree()
    let stale = try #require(try store.folder.base())
    _ = try store.folder.remove(epochs: [3])
    #expect(throws: StoreError.self) { try store.folder.create(epoch: 4, reserving: 0, base: stale) }
    let base = try #require(try store.folder.base())
    #expect(base.epoch == 2)
    #expect(try base.agrees(with: images[1]))
    var image = images[1]
    image.pages[16] = Random(99).fixedPage()
    try store.publish(Image(pages: [16: image.pages[16]!]), epoch: 4, base: base)
    try expect([1: images[0], 2: images[1], 4: image], "taken again")
  }

  /// Its file is still there, because a younger epoch needs it, but what it needed may be gone.
  @Test func aBaseThatWasRemovedIsRefusedThoughItsFileIsThere() throws {
    try store.publish(image, epoch: 1)
    let base = try #require(try store.folder.base())
    try store.publish(Image(pages: [16: Random(5).fixedPage()]), epoch: 2, base: base)
    _ = try store.folder.remove(epochs: [1])
    #expect(try names().contains("00000001.epoch"))
    let error = #expect(throws: StoreError.self) { try store.folder.create(epoch: 3, reserving: 0, base: base) }
    guard case .damaged = error else {
      Issue.record("\(String(describing: error))")
      return
    }
  }

  @Test func anEpochThatIsNotThereStopsEverything() throws {
    let images = try publishThree()
    #expect(throws: StoreError.notFound("epoch 7 of guest \(uuid)")) { try store.folder.remove(epochs: [1, 7]) }
    try expect([1: images[0], 2: images[1], 3: images[2]], "nothing removed")
  }

  @Test func marksGoWithTheirEpoch() throws {
    _ = try publishThree()
    try store.folder.setMarks(EpochMarks(pinned: true), of: 2)
    _ = try store.folder.remove(epochs: [2])
    #expect(try !names().contains("00000002.marks"))
  }

  @Test func numbersStayUsedWithoutACounter() throws {
    _ = try publishThree()
    unlink(store.path("counter"))
    _ = try store.folder.remove(epochs: [2, 3])
    #expect(try store.folder.nextEpochNumber() == 4)
  }

  /// The folder as it is when the process dies between any two steps.
  @Test(arguments: 0...4)
  func diedOnTheWay(steps: Int) throws {
    let images = try publishThree()
    try store.folder.setMarks(EpochMarks(tags: ["x"]), of: 3)
    let order = ["00000001.json", "00000003.json", "00000003.epoch", "00000003.marks"]
    for name in order.prefix(steps) { unlink(store.path(name)) }
    var left = [1: images[0], 2: images[1], 3: images[2]]
    if steps > 0 { left[1] = nil }
    if steps > 1 { left[3] = nil }
    try expect(left, "before")
    try store.folder.discardUnpublished()
    try expect(left, "after")
    let files = Set(left.keys.map(EpochName.file)).union(left[2] == nil ? [] : [EpochName.file(1)])
    #expect(Set(try names().filter { $0.hasSuffix(".epoch") }) == files)
    #expect(try names().contains("00000003.marks") == (left[3] != nil))
    _ = try store.folder.remove(epochs: Set(left.keys))
    #expect(try names() == ["counter"])
  }

  /// Nobody knows what an epoch needs whose manifest cannot be read.
  @Test func aDamagedManifestHoldsEveryOlderFile() throws {
    let images = try publishThree()
    let manifest = Tamper(path: store.path("00000003.json"))
    let byte = try manifest.read()[40]
    try manifest.write([byte ^ 1], at: 40)
    let removal = try store.folder.remove(epochs: [1, 2])
    #expect(removal.retained == [1, 2])
    #expect(try store.folder.compact().freedBytes == 0)
    #expect(try store.folder.compact().notes.count == 1)
    try manifest.write([byte], at: 40)
    try expect([3: images[2]], "repaired")
    try manifest.write([byte ^ 1], at: 40)
    #expect(try store.folder.remove(epochs: [3]).retained == [])
    #expect(try names() == ["counter"])
  }

  /// Where a removal of the last epoch broke off, whoever sweeps next ends it, and tells of epochs' files only.
  @Test func theCacheOfHashesGoesWithTheLastEpoch() throws {
    try store.publish(image, epoch: 1)
    #expect(try store.folder.discardUnpublished() == [])
    #expect(try names().contains("hashes"))
    unlink(store.path("00000001.json"))
    #expect(try store.folder.discardUnpublished() == ["00000001.epoch"])
    #expect(try names() == ["counter"])
  }

  // MARK: A guest that is given up

  @Test func aFolderGoesForGoodWhenNoEpochIsInIt() throws {
    _ = try publishThree()
    try store.folder.setStreak(TakeStreak())
    try store.folder.setLastRollback(Rollback(epoch: 1, safetyEpoch: nil))
    try store.folder.rename(to: "old")
    let before = try names()
    #expect(try !store.folder.removeForGood())
    #expect(try names() == before)
    _ = try store.folder.remove(epochs: [1, 2, 3])
    let lock = try store.folder.lock(.exclusive)
    #expect(try store.folder.removeForGood())
    withExtendedLifetime(lock) {}
    #expect(try StoreName.exists(store.folder.path) == false)
    #expect(try store.store.folders() == [])
  }

  @Test func aFolderWithSomebodyElsesFileStaysWhole() throws {
    _ = try publishThree()
    _ = try store.folder.remove(epochs: [1, 2, 3])
    _ = try StoreFile.open(store.path("notes.txt"), O_WRONLY | O_CREAT)
    #expect(try !store.folder.removeForGood())
    #expect(try names() == ["counter", "notes.txt"])
    #expect(try store.folder.nextEpochNumber() == 4)
  }

  /// Something keeps one of its files from being removed: it is nobody's folder all the same, and no number is given by it.
  @Test func aFolderThatIsGivenUpIsNoGuestsFromTheFirstStep() throws {
    _ = try publishThree()
    _ = try store.folder.remove(epochs: [1, 2, 3])
    mkdir(store.path("lock"), 0o700)
    #expect(try store.folder.removeForGood())
    #expect(try store.store.folders() == [])
    let left = try #require(try StoreName.list(store.store.path).first { $0.contains(uuid) })
    // A guest of that uuid that comes now begins anew.
    let folder = try store.store.folder(uuid: uuid, create: true)
    #expect(try left.hasPrefix(".") && folder.nextEpochNumber() == 1)
    #expect(throws: StoreError.self) { try store.store.discardRemoved() }
    rmdir("\(store.store.path)/\(left)/lock")
    #expect(try store.store.discardRemoved() == [uuid])
    #expect(try store.store.discardRemoved() == [] && store.store.folders() == [folder])
    #expect(try StoreName.list(store.store.path).filter { $0.contains(uuid) } == [uuid])
  }

  // MARK: Compaction

  @Test func whatNobodyNeedsIsGivenBack() throws {
    let images = try publishThree()
    _ = try store.folder.remove(epochs: [1, 2])
    let before = try diskBytes()
    let published = try Tamper(path: store.path("00000003.epoch")).read()
    let compaction = try store.folder.compact()
    #expect(compaction.isComplete && compaction.notes == [])
    // Epoch 1 has lost half of its pages, of 4 KiB and a header each.
    #expect(compaction.freedBytes > 400 << 10 && compaction.freedBytes < 700 << 10)
    #expect(try diskBytes() == before - compaction.freedBytes)
    try expect([3: images[2]], "compacted")
    #expect(try Tamper(path: store.path("00000003.epoch")).read() == published)
    #expect(try store.folder.compact() == Compaction())
    #expect(try store.folder.base()?.agrees(with: images[2]) == true)
  }

  @Test func publishedEpochsKeepTheirWholeFile() throws {
    let images = try publishThree()
    #expect(try store.folder.compact() == Compaction())
    try expect([1: images[0], 2: images[1], 3: images[2]], "nothing to do")
  }

  @Test func aBudgetIsKeptAndTheRestFollows() throws {
    let images = try publishThree()
    _ = try store.folder.remove(epochs: [1, 2])
    var total: UInt64 = 0
    var calls = 0
    while true {
      let compaction = try store.folder.compact(budget: 64 << 10)
      #expect(compaction.freedBytes <= 128 << 10)
      try expect([3: images[2]], "after \(calls) calls")
      total += compaction.freedBytes
      calls += 1
      if compaction.isComplete { break }
    }
    #expect(calls > 3 && total > 400 << 10)
    #expect(try store.folder.compact() == Compaction())
  }

  @Test(arguments: 0..<6)
  func stoppingLosesNothing(after asked: Int) throws {
    let images = try publishThree()
    _ = try store.folder.remove(epochs: [1, 2])
    var left = asked
    let compaction = try store.folder.compact(shouldStop: {
      left -= 1
      return left < 0
    })
    try expect([3: images[2]], "stopped")
    let rest = try store.folder.compact()
    #expect(rest.isComplete && compaction.freedBytes + rest.freedBytes > 400 << 10)
    try expect([3: images[2]], "finished")
  }

  /// What an index that cannot be trusted needs is not known.
  @Test func aDamagedIndexKeepsTheFilesThatItNeeds() throws {
    let images = try publishThree()
    let index = Int(try store.folder.open(epoch: 3).trailer.indexOffset)
    _ = try store.folder.remove(epochs: [1, 2])
    let file = Tamper(path: store.path("00000003.epoch"))
    let byte = try file.read()[index + 50]
    try file.write([byte ^ 1], at: index + 50)
    let compaction = try store.folder.compact()
    #expect(compaction.freedBytes == 0 && compaction.notes.count == 1)
    try file.write([byte], at: index + 50)
    try expect([3: images[2]], "repaired")
    #expect(try store.folder.compact().freedBytes > 400 << 10)
  }

  @Test func itIsDueWhenMuchWasNeverGoneThrough() throws {
    _ = try publishThree()
    #expect(try !store.folder.isCompactionDue())
    _ = try store.folder.remove(epochs: [1, 2])
    #expect(try store.folder.isCompactionDue())
    _ = try store.folder.compact()
    #expect(try !store.folder.isCompactionDue())
  }

  // MARK: All together, against a model

  @Test(arguments: [1, 2, 3] as [UInt64])
  func chainsThatArePruned(seed: UInt64) throws {
    var random = Random(seed)
    var model = random.image(pages: 300)
    var history: [Int: Image] = [:]
    for epoch in 1...40 {
      let base = try store.folder.base()
      #expect(base?.epoch == history.keys.max())
      let newest = history.keys.max().flatMap { history[$0] }
      // The guest goes on from where it is, whatever was removed.
      let writer = try store.folder.create(epoch: epoch, reserving: 0, base: base)
      if let newest { try writer.remove(newest.pages.keys.filter { model.pages[$0] == nil }) }
      try model.append(to: writer)
      try random.change(&model, in: writer, original: newest)
      _ = try writer.publish(store.manifest(epoch))
      history[epoch] = model
      if random.next() % 2 == 0 {
        let gone = history.keys.filter { _ in random.next() % 3 == 0 }
        #expect(try store.folder.remove(epochs: Set(gone)).epochs == gone.sorted())
        for epoch in gone { history[epoch] = nil }
      }
      if random.next() % 3 == 0 { _ = try store.folder.compact(budget: random.next() % (1 << 20)) }
      if epoch % 8 == 0 { try expect(history, "epoch \(epoch)") }
    }
    try expect(history, "at the end")
    #expect(try store.folder.remove(epochs: Set(history.keys)).retained == [])
    #expect(try names().filter { $0.hasSuffix(".epoch") } == [])
  }

  // MARK: A full file system

  @Test func theReserveIsGivenBackOnceWhenTheFileSystemIsFull() throws {
    let reserve = SpaceReserve(store: store.store.path)
    let path = store.store.path + "/reserve"
    reserve.fill()
    #expect(StoreName.diskBytes(path) >= 4 << 20)
    #expect(mode(path) == 0o600)
    var tries = 0
    try reserve.whenFull { () throws(StoreError) in
      tries += 1
      if tries == 1 { throw .system(operation: "write", path: "x", errno: ENOSPC) }
    }
    #expect(tries == 2)
    #expect(try StoreName.exists(path) == false)
    #expect(throws: StoreError.self) {
      try reserve.whenFull { () throws(StoreError) in throw .system(operation: "write", path: "x", errno: ENOSPC) }
    }
    _ = try publishThree()
    #expect(try StoreName.exists(path))
    _ = try store.folder.remove(epochs: [1])
    #expect(StoreName.diskBytes(path) >= 4 << 20)
  }
}
