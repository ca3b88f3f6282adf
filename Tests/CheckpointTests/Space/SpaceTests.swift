import EpochStore
import Testing

@testable import Checkpoint

@Suite("Room for the next epoch")
struct SpaceTests {
  private typealias Past = SpaceForecast.Past

  @Test(
    "is forecast from what the last epochs changed",
    arguments: [
      // Nothing to go by: a quarter.
      ([Past](), 60.0, 250_000),
      // Twice what the rate says, where epochs say more.
      ([Past(seconds: 60, storedPages: 90_000, pagesPerSecond: 1000)], 60, 120_000),
      // The same pages again and again: twice what epochs say.
      ([Past(seconds: 60, storedPages: 30_000, pagesPerSecond: 10_000)], 60, 60_000),
      // No log: by content only, and more after a longer time.
      ([Past(seconds: 60, storedPages: 30_000, pagesPerSecond: 0)], 60, 60_000),
      ([Past(seconds: 60, storedPages: 30_000, pagesPerSecond: 0)], 180, 180_000),
      ([Past(seconds: 60, storedPages: 30_000, pagesPerSecond: 0)], 10, 60_000),
      // The busiest of them counts.
      (
        [
          Past(seconds: 60, storedPages: 10, pagesPerSecond: 1),
          Past(seconds: 60, storedPages: 40_000, pagesPerSecond: 0),
          Past(seconds: 60, storedPages: 20, pagesPerSecond: 2000),
        ], 60, 80_000
      ),
      // Never more than the guest, never next to nothing, whatever the clock does.
      ([Past(seconds: 1, storedPages: 900_000, pagesPerSecond: 1e9)], 1e9, 1_000_000),
      ([Past(seconds: 60, storedPages: 0, pagesPerSecond: 0)], 60, 15_625),
      ([Past(seconds: 60, storedPages: 3, pagesPerSecond: 5)], -100, 15_625),
    ])
  func forecast(past: [SpaceForecast.Past], seconds: Double, pages: Int) {
    #expect(SpaceForecast(past: past).pages(ofGuest: 1_000_000, after: seconds) == pages)
  }

  @Test("is never forecast above a small guest")
  func smallGuest() {
    #expect(
      SpaceForecast(past: [Past(seconds: 1, storedPages: 1, pagesPerSecond: 0)]).pages(ofGuest: 64, after: 1) == 64)
  }

  @Test("is not forecast from epochs that held everything")
  func history() {
    func manifest(_ epoch: Int, at seconds: Int64, _ changes: String, _ stored: Int) -> EpochManifest {
      var statistics = TakeStatistics()
      (statistics.changes, statistics.normalPages, statistics.dirtyPagesPerSecond) = (changes, stored, -1)
      return EpochManifest(
        guest: "web", uuid: "", epoch: epoch, time: EpochTime(milliseconds: seconds * 1000), kind: .pv, vcpus: 1,
        memoryBytes: 0, statistics: statistics)
    }
    let forecast = SpaceForecast([
      manifest(1, at: 0, "all", 9000), manifest(2, at: 60, "log", 40), manifest(3, at: 90, "all", 9000),
      manifest(5, at: 80, "compare", 50),
    ])
    #expect(
      forecast.past == [
        Past(seconds: 60, storedPages: 40, pagesPerSecond: 0), Past(seconds: 1, storedPages: 50, pagesPerSecond: 0),
      ])
  }

  private static func limits(_ change: (inout SpaceLimits) -> Void) -> SpaceLimits {
    var limits = SpaceLimits()
    change(&limits)
    return limits
  }
  private static let full = PoolError.nearlyFull(pool: "p", what: "data", have: 1, need: 2, command: "")
  /// 79 % of its data and 50 % of its metadata are used.
  private static let pool = PoolRoom(pool: "p", dataUsed: 799, dataTotal: 1000, metadataUsed: 5, metadataTotal: 10)

  @Test(
    "is refused by quotas, the host's reserve and pools, and given up to them",
    arguments: [
      (limits { _ in }, 500 as UInt64, [pool], nil),
      (limits { _ in }, 501, [pool], .store(path: "/s", free: 500, need: 501, reserve: 0)),
      (limits { $0.hostReserve = 100 }, 400, [pool], nil),
      (limits { $0.hostReserve = 101 }, 400, [pool], .store(path: "/s", free: 500, need: 400, reserve: 101)),
      (limits { $0.quota = 300 }, 200, [pool], nil),
      (limits { $0.quota = 299 }, 200, [pool], .quota(used: 100, need: 200, limit: 299)),
      (limits { $0.storeQuota = 1200 }, 200, [pool], nil),
      (limits { $0.storeQuota = 1199 }, 200, [pool], .storeQuota(used: 1000, need: 200, limit: 1199)),
      (limits { $0.poolWatermark = 80 }, 1, [pool], nil),
      (limits { $0.poolWatermark = 79 }, 1, [pool], .watermark(pool: "p", what: "data", percent: 79, limit: 79)),
      (
        limits { $0.poolWatermark = 60 }, 1,
        [
          PoolRoom(pool: "a", dataTotal: 1000, metadataTotal: 10),
          PoolRoom(pool: "q", dataTotal: 1000, metadataUsed: 6, metadataTotal: 10),
        ], .watermark(pool: "q", what: "metadata", percent: 60, limit: 60)
      ),
      (limits { _ in }, 1, [PoolRoom(pool: "p", dataTotal: 9, metadataTotal: 9, problem: full)], .pool(full)),
    ] as [(SpaceLimits, UInt64, [PoolRoom], Shortage?)])
  func shortage(limits: SpaceLimits, need: UInt64, pools: [PoolRoom], expected: Shortage?) {
    let use = Shortage.Use(path: "/s", guestBytes: 100, storeBytes: 1000, freeBytes: 500, pools: pools)
    #expect(Shortage.find(limits, need: need, use) == expected)
  }

  @Test(
    "sizes are written as people read them",
    arguments: [(0, "0B"), (1023, "1023B"), (1536, "1.5K"), (10 << 40, "10.0T")])
  func sizes(bytes: UInt64, text: String) { #expect(ByteCount.text(bytes) == text) }
}

@Suite("A take without room")
struct SkippedTakeTests {
  private let journal = Journal()
  private let temporary: TemporaryStore

  init() throws { temporary = try TemporaryStore() }

  private func take(
    rooms: [[PoolRoom]] = [], _ change: (inout TakeOptions) -> Void = { _ in }, events: Journal = Journal()
  ) throws -> EpochManifest {
    var options = TakeOptions()
    change(&options)
    return try Take(
      ScriptedGuest(pages: [1: page(1), 2: page(2)], journal: journal),
      disks: ScriptedDisks(journal: journal, rooms: rooms), into: temporary.folder, options: options,
      report: { event in
        switch event {
        case .note(let text): events.note("note \(text)")
        case .failed(let failure): events.note("\(failure.kind) \(failure.phase)")
        default: break
        }
      }
    ).run()
  }

  private func pool(_ percent: UInt64) -> [PoolRoom] {
    [PoolRoom(pool: "main", dataUsed: percent, dataTotal: 100, metadataTotal: 100)]
  }

  /// At a watermark of 90 % a policy that keeps one epoch makes room.
  private func takeWithPolicy(rooms: [[PoolRoom]], _ events: Journal) throws -> EpochManifest {
    try take(
      rooms: rooms,
      { options in
        options.space.poolWatermark = 90
        options.retention.last = 1
      }, events: events)
  }

  @Test("is skipped at the watermark before the guest is touched, and says so")
  func watermark() throws {
    let events = Journal()
    let words = "pool main: 90 % of its data are used, `pool-watermark` is 90; prune epochs or enlarge the pool"
    #expect(throws: CheckpointError.noRoom(guest: "web", words)) {
      try take(rooms: [pool(90)], { $0.space.poolWatermark = 90 }, events: events)
    }
    #expect(events.events == ["skipped reserve"])
    #expect(!journal.events.contains("arm") && !journal.events.contains("reserve"))
    #expect(temporary.files.isEmpty)
    #expect(try take(rooms: [pool(89)]) { $0.space.poolWatermark = 90 }.epoch == 1)
  }

  @Test("lets the guest's policy make room first")
  func retentionFirst() throws {
    for _ in 0..<3 { _ = try take() }
    let events = Journal()
    let manifest = try takeWithPolicy(rooms: [pool(95), pool(60)], events)
    #expect(manifest.epoch == 4)
    #expect(try temporary.folder.overview().epochs.map(\.epoch) == [3, 4])
    // The disks of what went are gone before the pool is looked at again.
    #expect(journal.events.contains("published: [3]"))
    #expect(events.events.count == 1 && events.events[0].contains("its policy removed epochs 1, 2"))
    #expect(try #require(manifest.statistics).notes.count == 1)
  }

  @Test("is skipped when the policy does not help, and keeps what it keeps")
  func retentionIsNotEnough() throws {
    for _ in 0..<3 { _ = try take() }
    #expect {
      try take(rooms: [pool(95)]) { options in
        options.space.poolWatermark = 90
        options.retention.last = 2
      }
    } throws: {
      guard case CheckpointError.noRoom = $0 else { return false }
      return true
    }
    #expect(try temporary.folder.overview().epochs.map(\.epoch) == [2, 3])
    // A policy that would leave nothing removes nothing.
    #expect(throws: CheckpointError.self) {
      try take(rooms: [pool(95)]) { options in
        options.space.poolWatermark = 90
        options.retention.tags = ["none"]
      }
    }
    #expect(try temporary.folder.overview().epochs.map(\.epoch) == [2, 3])
  }

  @Test("tells of what a pool will lack, to who watches as well as in the epoch, once")
  func warnings() throws {
    let events = Journal()
    var low = pool(60)
    low[0].warnings = ["pool main: look"]
    for _ in 0..<2 { _ = try take() }
    let manifest = try takeWithPolicy(rooms: [[pool(95)[0], low[0]], low], events)
    #expect(events.events.filter { $0 == "note pool main: look" }.count == 1)
    #expect(try #require(manifest.statistics).notes.filter { $0 == "pool main: look" }.count == 1)
  }

  /// Two epochs of which the second replaces most of the first, which is removed; its file stays for the rest.
  private func leaveGarbage() throws {
    for epoch in 1...2 {
      var pages: [UInt64: [UInt8]] = [1: page(1)]
      for pfn in 16..<64 as Range<UInt64> { pages[pfn] = (0..<4096).map { _ in UInt8.random(in: 1...255) } }
      let made = try Take(
        ScriptedGuest(pages: pages, journal: journal), disks: ScriptedDisks(journal: journal), into: temporary.folder
      ).run()
      #expect(made.epoch == epoch)
    }
    let lock = try temporary.folder.lock(.exclusive)
    #expect(try temporary.folder.remove(epochs: [1]).retained == [1])
    withExtendedLifetime(lock) {}
  }

  @Test("finds room in what earlier removals left, where its policy removes nothing")
  func leftovers() throws {
    try leaveGarbage()
    let events = Journal()
    let manifest = try takeWithPolicy(rooms: [pool(95), pool(60)], events)
    #expect(manifest.epoch == 3 && events.events.count == 1)
    #expect(events.events[0].hasSuffix("K freed in the store") && !events.events[0].contains("removed"))
  }

  @Test("that is told to stop while it makes room leaves the rest to the next one")
  func stopped() throws {
    try leaveGarbage()
    _ = try take()
    let cancellation = TakeCancellation()
    let disks = ScriptedDisks(
      journal: journal, rooms: [pool(95)], whileForgetting: { if $0 == [3] { cancellation.cancel() } })
    var options = TakeOptions()
    (options.space.poolWatermark, options.retention.last) = (90, 1)
    #expect(throws: CheckpointError.interrupted) {
      try Take(
        ScriptedGuest(pages: [1: page(1)], journal: journal), disks: disks, into: temporary.folder, options: options,
        cancellation: cancellation
      ).run()
    }
    #expect(try temporary.folder.overview().epochs.map(\.epoch) == [3])
    let lock = try temporary.folder.lock(.exclusive)
    #expect(try temporary.folder.compact().freedBytes > 0)
    withExtendedLifetime(lock) {}
  }

  @Test("is skipped over its quota and the store's, and where the host wants its reserve")
  func quotas() throws {
    let first = try take()
    let changes: [(String, (inout TakeOptions) -> Void)] = [
      ("within its quota", { $0.space.quota = 1 << 20 }),
      ("within the store's quota", { $0.space.storeQuota = 1 << 20 }),
      ("`host-reserve` keeps", { $0.space.hostReserve = 1 << 60 }),
    ]
    for (words, change) in changes {
      #expect { try take(change) } throws: { "\($0)".contains(words) && "\($0)".contains("was not touched") }
    }
    #expect(try take { $0.space.quota = 64 << 20 }.epoch == first.epoch + 1)
  }
}
