import Dispatch
import Glibc
import Synchronization
import Testing

@testable import EpochStore

/// Verification of epochs that share files, and what is remembered of it.
@Suite struct VerifyTests {
  private let store: TemporaryStore
  /// Pfns 1 and 500 stand in epoch 1's file throughout, 20 was replaced in epoch 2, 40 in epoch 3.
  private let image = Image(
    pages: [1: Random(1).fixedPage(), 20: Random(2).fixedPage(), 40: Random(3).fixedPage(), 500: Random(4).fixedPage()])

  init() throws {
    store = try TemporaryStore()
    try store.publish(image, epoch: 1, records: [StoredRecord(type: 1, body: [1, 2, 3])])
    try store.publish(Image(pages: [20: Random(5).fixedPage()]), epoch: 2, base: store.folder.base())
    try store.publish(Image(pages: [40: Random(6).fixedPage()]), epoch: 3, base: store.folder.base())
  }

  /// One run over some epochs and those that share their damage: which turned out damaged.
  @discardableResult
  private func verify(_ epochs: [Int], _ method: VerifyMethod = .full, seed: UInt64 = 1) throws -> [Int] {
    let lock = try store.folder.lock(.shared)
    defer { _ = lock }
    let verifier = FolderVerifier(store.folder, method: method, threads: 2, random: Random(seed))
    var outcomes = try epochs.map { try verifier.verify($0) }
    outcomes += try verifier.finish()
    #expect(outcomes.allSatisfy { $0.unkept == nil })
    return outcomes.filter(\.verdict.isDamaged).map(\.verdict.epoch).sorted()
  }

  private func file(_ epoch: Int) -> Tamper { Tamper(path: store.path(EpochName.file(epoch))) }

  /// Where a page's frame names its first block in the file of the epoch that brought it.
  private func frame(_ pfn: UInt64, of epoch: Int) throws -> Int {
    let reader = try store.folder.open(epoch: epoch)
    let number = try #require(
      (0..<reader.index.pageEntries).first {
        reader.index[$0].group == pfn / 16 && reader.index[$0].epoch == UInt32(epoch)
      })
    return Int(reader.index[number].head) + EpochFormat.frameHeaderBytes
  }

  private func flip(_ offset: Int, of epoch: Int) throws {
    try file(epoch).write([try file(epoch).read()[offset] ^ 1], at: offset)
  }

  // MARK: What is found

  @Test(arguments: [.quick, .subset(0.5), .full] as [VerifyMethod])
  func soundEpochsAreSound(method: VerifyMethod) throws {
    #expect(try verify([1, 2, 3], method) == [])
    let verdict = try #require(try store.folder.verdict(2))
    #expect(verdict.method == method && verdict.damage == [] && verdict.time <= .now)
    #expect(verdict.fullTime == (method == .full ? verdict.time : nil))
    #expect(mode(store.path("00000002.verified")) == 0o600)
  }

  @Test(arguments: [.quick, .subset(0.01), .full] as [VerifyMethod])
  func everyMethodFindsWhatIsNoContent(method: VerifyMethod) throws {
    let path = store.path("00000001.epoch")
    let whole = try file(1).read()
    let index = Int(try store.folder.open(epoch: 3).trailer.indexOffset)

    try flip(index + 5, of: 3)
    #expect(try verify([3], method) == [3])
    try flip(index + 5, of: 3)
    #expect(try verify([3]) == [])

    // An older file that ends within a frame that is needed, and one that is gone.
    file(1).cut(to: try frame(500, of: 1) - 10)
    #expect(try verify([3], method) == [1, 2, 3])
    let damage = try #require(try store.folder.verdict(3)?.damage.first)
    #expect(
      damage.file == "00000001.epoch" && damage.what.contains("pfn 496") && damage.what.contains("end of the file"))
    unlink(path)
    #expect(try verify([2], method) == [1, 2, 3])
    #expect(
      try store.folder.verdict(2)?.damage == [
        .init(file: "00000001.epoch", what: "it is gone, though epoch 2 needs it")
      ])
    try store.folder.publish(bytes: whole, as: path)
    #expect(try verify([1, 2, 3]) == [])

    try Tamper(path: store.path("00000002.json")).write([0], at: 10)
    #expect(try verify([1, 2, 3], method) == [2])
  }

  @Test func onlyReadingFindsDamagedContent() throws {
    try flip(try frame(20, of: 2), of: 2)
    #expect(try verify([1, 2, 3], .quick) == [])
    #expect(try verify([1, 2, 3]) == [2, 3])
    for (epoch, what) in [(2, "does not match its checksum"), (3, "is damaged, as another epoch showed")] {
      let damage = try #require(try store.folder.verdict(epoch)?.damage)
      #expect(damage.count == 1 && damage[0].file == "00000002.epoch")
      #expect(damage[0].what.contains("pfn 16 ") && damage[0].what.contains(what))
    }
  }

  @Test func everyDamagedPlaceIsCounted() throws {
    for pfn in [1, 40, 500] as [UInt64] { try flip(try frame(pfn, of: 1), of: 1) }
    let record = Int(try store.folder.open(epoch: 1).index.records[0].offset)
    try flip(record, of: 1)
    #expect(try verify([1]) == [1, 2, 3])
    #expect(try [1, 2, 3].map { try store.folder.verdict($0)?.damageCount } == [4, 3, 2])
  }

  /// Between two pieces, of 4 MiB at most each.
  @Test func oneThatIsToldToStopStopsSoonAndFindsNothing() throws {
    let pages = Dictionary(uniqueKeysWithValues: (0..<3000).map { (UInt64($0), Random(UInt64($0)).fixedPage()) })
    try store.publish(Image(pages: pages), epoch: 4)
    let lock = try store.folder.lock(.shared)
    defer { _ = lock }
    let verifier = FolderVerifier(store.folder, method: .full)
    let pieces = Atomic(0)
    #expect(throws: StoreError.stopped) {
      try verifier.verify(
        4, progress: { _, _ in pieces.add(1, ordering: .relaxed) },
        shouldStop: { pieces.load(ordering: .relaxed) == 1 })
    }
    #expect(pieces.load(ordering: .relaxed) == 1)
    #expect(try store.folder.verdict(4) == nil)
    #expect(try verifier.verify(4).verdict.isDamaged == false)
  }

  @Test func manyDamagedPlacesAreNamedInPart() throws {
    let pages = Dictionary(uniqueKeysWithValues: (0..<40).map { (UInt64($0 * 16), Random(UInt64($0)).fixedPage()) })
    try store.publish(Image(pages: pages), epoch: 4)
    for pfn in pages.keys { try flip(try frame(pfn, of: 4), of: 4) }
    try verify([4])
    let verdict = try #require(try store.folder.verdict(4))
    #expect(verdict.damageCount == 40 && verdict.damage.count == EpochVerdict.mostDamage)
  }

  @Test func onlyEpochsThatUseTheDamagedPlaceAreMarked() throws {
    // Pfn 40 as epoch 1 brought it: 2 still has it, 3 replaced it.
    try flip(try frame(40, of: 1), of: 1)
    #expect(try verify([2]) == [1, 2])
    #expect(try store.folder.verdict(3) == nil)
    #expect(try verify([3]) == [])
  }

  @Test func epochsThatShareFramesReadThemOnce() throws {
    let verifier = FolderVerifier(store.folder, method: .full)
    var totals: [Int] = []
    for epoch in 1...3 {
      var total = 0
      _ = try verifier.verify(epoch) { total = max(total, $1) }
      totals.append(total)
    }
    // Each reads its own data area: frames and records, which lie side by side.
    #expect(
      try totals == (1...3).map { Int(try store.folder.open(epoch: $0).trailer.indexOffset) - EpochFormat.headerBytes })
  }

  /// An entry that lies about a proven frame: another group, or pages that the frame does not hold.
  @Test func aProofServesNoOtherEntry() throws {
    let reader = try store.folder.open(epoch: 1)
    let entries = (0..<reader.index.pageEntries).map { reader.index[$0] }.filter(\.hasFrame)
    var known = KnownFrames()
    known.add(proven: entries, of: 1, but: Findings())
    for entry in entries {
      #expect(known.isProven(entry, whole: true))
      for change: (inout PageEntry) -> Void in [
        { $0.group += 1 }, { $0.offset += 1 }, { $0.hash ^= 1 }, { $0.epoch = 2 },
        { $0.blocks += 1 }, { $0.lower += 1 }, { $0.upper += 1 }, { $0.data = ~$0.data },
      ] {
        var other = entry
        change(&other)
        #expect(!known.isProven(other, whole: false))
      }
    }
  }

  // MARK: A share of the frames

  @Test func aSubsetReadsItsShareAndTheRecords() throws {
    let pages = Dictionary(uniqueKeysWithValues: (0..<200).map { (UInt64($0 * 16), Random(UInt64($0)).fixedPage()) })
    try store.publish(Image(pages: pages), epoch: 4, records: [StoredRecord(type: 1, body: [9, 9])])
    for (share, frames) in [(0.05, 10), (0.001, 1), (0.5, 100)] {
      let verifier = FolderVerifier(store.folder, method: .subset(share), random: Random(7))
      var total = 0
      _ = try verifier.verify(4) { total = $1 }
      #expect(total == frames * (EpochFormat.headBytes(blocks: 1) + 4096) + 2)
    }
    #expect(try store.folder.verdict(4)?.method == .subset(0.5))
  }

  @Test func eachTimeAnotherSubset() throws {
    try flip(try frame(500, of: 1), of: 1)
    let found = try (0..<60).map { seed in
      unlink(store.path("00000001.verified"))
      return try verify([1], .subset(0.25), seed: UInt64(seed)).contains(1)
    }
    // One of four frames each time: never found, or always, would be no draw.
    #expect(5...30 ~= found.count { $0 })
    unlink(store.path("00000001.verified"))
    #expect(try verify([1], .subset(0.25), seed: 3).contains(1) == found[3])
  }

  // MARK: What is remembered

  @Test func onlyAFullVerificationClears() throws {
    let place = try frame(500, of: 1)
    try flip(place, of: 1)
    #expect(try verify([1]) == [1, 2, 3])
    try flip(place, of: 1)
    #expect(try verify([1, 2], .quick) == [1, 2])
    #expect(try verify([1], .subset(0.9)) == [1])
    #expect(try verify([1, 2]) == [])
    #expect(try store.folder.verdict(3)?.isDamaged == true)
    #expect(try verify([3]) == [])
  }

  @Test func theLastFullTimeSurvivesQuickerLooks() throws {
    try verify([1])
    let time = try store.folder.verdict(1)?.time
    try verify([1], .quick)
    #expect(try store.folder.verdict(1)?.fullTime == time)
    #expect(try store.folder.verdict(1)?.method == .quick)
  }

  @Test func aVerdictThatCannotBeTrustedCountsAsDamage() throws {
    try verify([3])
    let verdict = Tamper(path: store.path("00000003.verified"))
    let good = try verdict.read()
    for offset in good.indices {
      try verdict.write([good[offset] ^ 4], at: offset)
      #expect(try store.folder.verdict(3)?.isDamaged == true, "byte \(offset)")
      try verdict.write([good[offset]], at: offset)
    }
    for size in stride(from: good.count - 1, through: 0, by: -7) {
      verdict.cut(to: size)
      #expect(try store.folder.newestSoundEpoch() == 2, "\(size) bytes")
    }
    #expect(try verify([3], .quick) == [3])
    #expect(try verify([3]) == [])
  }

  @Test func severalMayVerifyAtATime() throws {
    let folder = store.folder
    DispatchQueue.concurrentPerform(iterations: 4) { thread in
      for _ in 0..<20 {
        #expect(throws: Never.self) {
          let outcome = try FolderVerifier(folder, method: thread % 2 == 0 ? .full : .quick).verify(1)
          #expect(outcome.unkept == nil)
          #expect(try folder.verdict(1)?.isDamaged == false)
        }
      }
    }
    #expect(try StoreName.list(store.folder.path).filter { $0.hasSuffix(".partial") } == [])
  }

  @Test func verdictsGoWithTheirEpochs() throws {
    try verify([1, 2, 3])
    for name in ["00000002.json", "00000002.epoch"] { unlink(store.path(name)) }
    _ = try store.folder.discardUnpublished()
    #expect(try Set(store.folder.epochs(detailed: true).verdicts.keys) == [1, 3])
    #expect(try store.folder.nextEpochNumber() == 4)
  }

  @Test func listsAndPoliciesSeeTheVerdicts() throws {
    try verify([1], .subset(0.25))
    try verify([2])
    try flip(try frame(40, of: 3), of: 3)
    try verify([3])
    let overview = try store.folder.overview()
    // The quick way of reading them and the whole one.
    #expect(overview.verdicts.count == 3)
    #expect(try overview.verdicts == store.folder.epochs(detailed: true).verdicts)
    #expect(overview.subjects.map(\.isDamaged) == [false, false, true])
  }

  /// A removed epoch's file stays for the epochs that need it; the holes in it are no damage, what they need is looked at.
  @Test func filesOfRemovedEpochs() throws {
    let place = try frame(500, of: 1)
    _ = try store.folder.remove(epochs: [1])
    _ = try store.folder.compact()
    #expect(try verify([2, 3]) == [])
    try flip(place, of: 1)
    #expect(try verify([3]) == [2, 3])
  }

  // MARK: No base

  @Test func theNextEpochBuildsOnTheNewestThatIsSound() throws {
    #expect(try store.folder.base()?.epoch == 3)
    try flip(try frame(40, of: 3), of: 3)
    #expect(try store.folder.base()?.epoch == 3, "nobody knows yet")
    try verify([3])
    #expect(try store.folder.base()?.epoch == 2)
    try flip(try frame(1, of: 1), of: 1)
    try verify([1])
    #expect(try store.folder.base() == nil)
    // What is taken without a base is sound, and built on again.
    try store.publish(image, epoch: 4)
    #expect(try store.folder.base()?.epoch == 4)
  }

  /// A take came between the verification of two epochs, and built on one that was not looked at yet.
  @Test func anEpochThatWasTakenMeanwhileIsMarked() throws {
    try flip(try frame(20, of: 2), of: 2)
    let verifier = FolderVerifier(store.folder, method: .full)
    _ = try verifier.verify(1)
    try store.publish(Image(pages: [1: Random(9).fixedPage()]), epoch: 4, base: store.folder.base())
    #expect(try verifier.verify(2).verdict.isDamaged)
    #expect(try verifier.finish().map(\.verdict.epoch) == [3, 4])
    #expect(try store.folder.newestSoundEpoch() == 1)
  }

  /// Somebody ends it when damage was found, and takes.
  @Test func whatSharesDamageIsMarkedThoughTheRunDoesNotEnd() throws {
    try flip(try frame(20, of: 2), of: 2)
    let verifier = FolderVerifier(store.folder, method: .full)
    #expect(try verifier.verify(2).verdict.isDamaged)
    #expect(try store.folder.verdict(3)?.isDamaged == true)
    try store.publish(Image(pages: [1: Random(9).fixedPage()]), epoch: 4, base: store.folder.base())
    #expect(try store.folder.manifest(4).needs == [1])
    // What was verified by itself meanwhile is told there.
    _ = try verifier.verify(3)
    #expect(try verifier.finish().isEmpty)
    #expect(try store.folder.newestSoundEpoch() == 4)
  }
}
