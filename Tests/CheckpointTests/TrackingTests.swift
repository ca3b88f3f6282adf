import EpochStore
import Foundation
import Testing
import Xen

@testable import Checkpoint

/// Takes of one guest, one after the other, by engines that stay or that begin anew each time.
@Suite("Tracking between epochs")
struct TrackingTests {
  private let temporary: TemporaryStore
  private let guest: ScriptedGuest
  private let memory = TakeMemory()

  init() throws {
    temporary = try TemporaryStore()
    let pages = Dictionary(uniqueKeysWithValues: (1...40).map { (UInt64($0), page(UInt8($0))) })
    guest = ScriptedGuest(pages: pages, journal: Journal())
  }

  @discardableResult
  private func take(
    _ policy: TrackingPolicy, memory: TakeMemory? = nil, into folder: GuestFolder? = nil,
    disks: ScriptedDisks.Fault? = nil
  ) throws -> TakeStatistics {
    var options = TakeOptions()
    options.tracking = policy
    options.stagingBytes = 64 * 4096
    options.precopy.smallPages = 0
    guest.forgetWhatHappened()
    let manifest = try Take(
      guest, disks: ScriptedDisks(journal: Journal(), fault: disks), into: folder ?? temporary.folder,
      options: options, memory: memory ?? TakeMemory()
    ).run()
    // Whatever was copied, the epoch is the guest.
    #expect(try content(manifest.epoch, folder) == guest.pages)
    return try #require(manifest.statistics)
  }

  private func content(_ epoch: Int, _ folder: GuestFolder?) throws -> [UInt64: [UInt8]] {
    try pages(of: epoch, in: folder ?? temporary.folder)
  }

  @Test("continuous: the next take reads what was written, and nothing else", arguments: [true, false])
  func continuous(resident: Bool) throws {
    try take(.continuous, memory: resident ? memory : nil)
    guest.write(7, page(200))
    let second = try take(.continuous, memory: resident ? memory : nil)
    #expect(second.changes == "log")
    #expect(Set(guest.copied).isSubset(of: [1, 7]))
    #expect(guest.isLogging)
  }

  @Test("per take: the log is off between takes, changes are found by comparing")
  func perTake() throws {
    try take(.perTake)
    #expect(!guest.isLogging)
    guest.write(7, page(200))
    let second = try take(.perTake)
    #expect(second.changes == "compare")
    #expect(Set(guest.copied).isSubset(of: [1, 7]))
  }

  @Test("without a log everything is compared, in the pause as well")
  func noLog() throws {
    guest.canLog = false
    try take(.auto)
    guest.write(7, page(200))
    guest.whileSuspending = { $0.write(8, page(201)) }
    let second = try take(.auto)
    #expect(second.tracking == "none")
    #expect(Set(guest.copied) == [7, 8])
  }

  @Test("a page written back to what it was is right again")
  func backAndForth() throws {
    for canLog in [true, false] {
      guest.canLog = canLog
      try take(.continuous)
      guest.write(9, page(77))
      guest.whileSuspending = { $0.write(9, page(9)) }
      try take(.continuous)
      guest.whileSuspending = { _ in }
    }
  }

  @Test("pages that went are gone from the next epoch, pages that came are in it", arguments: TrackingPolicy.allCases)
  func ballooning(policy: TrackingPolicy) throws {
    try take(policy)
    guest.write(5, nil)
    guest.write(50, page(50))
    try take(policy)
    guest.write(5, page(55))
    guest.write(50, nil)
    try take(policy)
  }

  @Test("another tool's OFF is found, and everything compared")
  func switchedOff() throws {
    try take(.continuous)
    guest.write(7, page(200))
    guest.stealLog(andSwitchOff: true)
    #expect(try take(.continuous).changes == "compare")
  }

  @Test("bits that another tool took are missed", arguments: [EpochManifest.Kind.pv, .pvh])
  func stolen(kind: EpochManifest.Kind) throws {
    let guest = ScriptedGuest(pages: self.guest.pages, kind: kind, journal: Journal())
    for epoch in 1...2 {
      let take = Take(
        guest, disks: ScriptedDisks(journal: Journal()), into: temporary.folder,
        options: {
          var options = TakeOptions()
          options.tracking = .continuous
          return options
        }())
      let statistics = try #require(try take.run().statistics)
      #expect(statistics.changes == (epoch == 1 ? "all" : "compare"))
      #expect(try pages(of: epoch, in: temporary.folder) == guest.pages)
      guest.write(7, page(200))
      guest.stealLog(andSwitchOff: false)
      // Something else is in the log by now.
      guest.write(8, page(8))
    }
  }

  @Test("a take that failed loses no dirty bit", arguments: [true, false])
  func failed(resident: Bool) throws {
    try take(.continuous, memory: memory)
    guest.write(7, page(200))
    #expect(throws: ScriptedDisks.Fault.commit) {
      try take(.continuous, memory: resident ? memory : nil, disks: .commit)
    }
    guest.write(8, page(201))
    let third = try take(.continuous, memory: resident ? memory : nil)
    // The engine that stayed knows what it owes; one that begins anew knows that something is owed.
    #expect(third.changes == (resident ? "log" : "compare"))
    #expect(Set(guest.copied).isSuperset(of: [7, 8]))
    #expect(Set(guest.copied).isSubset(of: [1, 7, 8]))
  }

  @Test("an epoch in another store does not take this one's bits away unnoticed")
  func otherStore() throws {
    let other = try TemporaryStore()
    try take(.continuous)
    guest.write(7, page(200))
    try take(.continuous, into: other.folder)
    #expect(try take(.continuous).changes == "compare")
  }

  @Test("bits taken during a take end it")
  func stolenMeanwhile() throws {
    guest.whileCopied = { $0.stealLog(andSwitchOff: false) }
    #expect(throws: CheckpointError.trackingLost(guest: "web")) { try take(.continuous) }
    #expect(guest.condition == .running)
    guest.whileCopied = { _ in }
    try take(.continuous)
  }

  @Test("bits taken during a take are not missed by the next one of an engine that stays")
  func stolenMeanwhileFromResident() throws {
    try take(.continuous, memory: memory)
    guest.write(7, page(200))
    guest.whileCopied = {
      $0.write(20, page(201))
      $0.stealLog(andSwitchOff: false)
    }
    #expect(throws: CheckpointError.trackingLost(guest: "web")) { try take(.continuous, memory: memory) }
    guest.whileCopied = { _ in }
    #expect(try take(.continuous, memory: memory).changes == "compare")
  }

  @Test(
    "an epoch that turns out damaged is built on no more, and the debt since it is not taken for more",
    arguments: [true, false])
  func damagedBase(failedTake: Bool) throws {
    try take(.continuous, memory: memory)
    guest.write(9, page(199))
    try take(.continuous, memory: memory)
    guest.write(7, page(200))
    if failedTake {
      #expect(throws: ScriptedDisks.Fault.commit) { try take(.continuous, memory: memory, disks: .commit) }
    }
    // The frame of pfn 9 is all that epoch 2's file holds.
    let handle = try #require(FileHandle(forUpdatingAtPath: temporary.folder.path + "/00000002.epoch"))
    try handle.seek(toOffset: 70)
    try handle.write(contentsOf: [0xEE, 0xEE])
    #expect(try FolderVerifier(temporary.folder, method: .full).verify(2).verdict.isDamaged)
    guest.write(8, page(201))
    #expect(try take(.continuous, memory: memory).changes == "compare")
    #expect(try temporary.folder.epochs().epochs.last?.needs == [1])
    guest.write(8, page(202))
    #expect(try take(.continuous, memory: memory).changes == "log")
  }

  @Test(
    "the rule that ends live copying",
    arguments: [
      (0, 100, 100, 0.0, "small"), (0, 9000, 9000, 0, nil), (1, 9000, 8000, 1, "no longer shrinks"),
      (1, 9000, 5000, 1, nil), (8, 9000, 5000, 1, "rounds"), (2, 9000, 5000, 61, "time"),
    ] as [(Int, Int, Int, Double, String?)])
  func rule(rounds: Int, began: Int, left: Int, seconds: Double, end: String?) {
    #expect(PrecopyRule().end(rounds: rounds, began: began, left: left, seconds: seconds) == end)
  }
}
