import EpochStore
import Foundation
import Glibc
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
    let statistics = try #require(manifest.statistics)
    // Whatever it was copied for, it is in a round.
    #expect(statistics.transferredBytes == guest.copied.count * 4096)
    #expect(statistics.rounds.reduce(0) { $0 + $1.copied } == guest.copied.count)
    return statistics
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

  @Test(
    "memory that came between takes is found before the pause, and everything compared: the log may miss some of it")
  func resized() throws {
    try take(.continuous)
    // Xen logs nothing when it gives a page, nor what the guest writes to it until the log is read.
    guest.give(5, page(55))
    guest.give(50, page(50))
    guest.write(6, nil)
    guest.write(7, nil)
    let journal = guest.journal
    let scans = journal.events.count { $0 == "scan suspended" }
    let second = try take(.continuous)
    #expect(second.changes == "compare")
    #expect(second.reason == "the guest's memory was resized since epoch 1")
    #expect(journal.events.count { $0 == "scan suspended" } == scans)
    #expect(try take(.continuous).changes == "log")
  }

  @Test("memory that comes and goes during the take is found before the pause", arguments: [false, true])
  func resizedMeanwhile(back: Bool) throws {
    try take(.continuous)
    // Enough for a second round.
    for pfn in UInt64(10)..<30 { guest.write(pfn, page(200)) }
    var copies = 0
    guest.whileCopied = { guest in
      copies += 1
      switch copies {
      case 1:
        guest.write(5, nil)
        guest.write(50, page(50))
        guest.write(51, page(51))
      // 50 was copied live; nothing but that copy tells of it.
      case 2 where back: guest.write(50, nil)
      default: break
      }
    }
    try take(.continuous)
    guest.whileCopied = { _ in }
    #expect(guest.pages.count == (back ? 40 : 41))
    #expect(!guest.journal.events.contains("scan suspended"))
  }

  /// The second take: pages come unlogged while it copies live, so that it copies live once more.
  private func takeWhilePagesCome() throws -> TakeStatistics {
    try take(.continuous)
    for pfn in UInt64(10)..<30 { guest.write(pfn, page(200)) }
    var copies = 0
    guest.whileCopied = { guest in
      copies += 1
      guard copies == 1 else { return }
      guest.give(5, page(55))
      guest.give(50, page(50))
    }
    defer { guest.whileCopied = { _ in } }
    return try take(.continuous)
  }

  @Test("a page that came in the place of another one during the take is the new one, although nothing was logged")
  func exchangedMeanwhile() throws {
    let second = try takeWhilePagesCome()
    #expect(second.changes == "compare")
    #expect(second.reason == "the guest's memory was resized during the take")
  }

  @Test("live rounds are counted through the whole take, and its rates are those of all of them together")
  func rounds() throws {
    let second = try takeWhilePagesCome()
    let live = second.rounds.filter { Int($0.name) != nil }
    #expect(live.count > 1)
    #expect(live.map(\.name) == (1...live.count).map { String($0) })
    let ms = live.reduce(0) { $0 + $1.ms }
    #expect(second.precopyBytes == live.reduce(0) { $0 + $1.copied } * 4096)
    #expect(second.bytesPerSecond == Double(second.precopyBytes) / ms * 1000)
    #expect(second.dirtyPagesPerSecond == Double(live.reduce(0) { $0 + $1.dirtied }) / ms * 1000)
  }

  /// The balloon takes page 6, the log is emptied, and page 6 comes back unlogged: before or after the next live copy looks at it.
  @Test("a page that was given back for a moment is what the guest holds when it is back", arguments: [true, false])
  func returned(beforeTheCopy: Bool) throws {
    try take(.continuous)
    for pfn in UInt64(10)..<30 { guest.write(pfn, page(200)) }
    var (collects, copies) = (0, 0)
    guest.whileCopied = { guest in
      copies += 1
      guard copies == 1 else { return beforeTheCopy ? guest.write(6, page(67)) : guest.give(6, page(67)) }
      // Enough for a second round.
      for pfn in UInt64(10)..<30 { guest.write(pfn, page(201)) }
      guest.write(6, page(0))
      guest.write(6, nil)
    }
    guest.whileCollected = { guest in
      collects += 1
      if collects == 2, beforeTheCopy { guest.give(6, page(66)) }
    }
    #expect(try take(.continuous).changes == "compare")
    guest.whileCopied = { _ in }
    guest.whileCollected = { _ in }
    try take(.continuous)
  }

  @Test("memory that does not rest is compared in the pause")
  func restless() throws {
    try take(.continuous)
    for pfn in UInt64(10)..<30 { guest.write(pfn, page(200)) }
    var turn: UInt8 = 0
    guest.whileCopied = { guest in
      turn += 1
      guest.write(6, page(0))
      guest.write(6, nil)
    }
    guest.whileCollected = { $0.give(6, page(66)) }
    guest.whileSuspending = { $0.write(6, page(67)) }
    #expect(try take(.continuous).changes == "compare")
    (guest.whileCopied, guest.whileCollected, guest.whileSuspending) = ({ _ in }, { _ in }, { _ in })
    #expect(turn > 2)
  }

  @Test("a log that Xen had no memory for is switched off, so that the next take finds a whole one")
  func brokenLog() throws {
    try take(.continuous)
    guest.fault = .memory
    #expect(throws: XenError.self) { try take(.continuous) }
    #expect(!guest.isLogging)
    guest.fault = nil
    #expect(try take(.continuous).changes == "compare")
  }

  @Test(
    "an epoch that was imported under a used number is not taken for the one that had it", arguments: [true, false])
  func numberUsedAgain(resident: Bool) throws {
    try take(.continuous, memory: resident ? memory : nil)
    let folder = temporary.folder
    let manifest = try folder.manifest(1)
    _ = try folder.remove(epochs: [1])
    let writer = try folder.create(imported: 1, reserving: 1 << 20)
    let other = [UInt8](repeating: 99, count: 40 * 4096)
    let (pfns, types) = ((1...40).map { UInt64($0) }, [UInt8](repeating: 0, count: 40))
    try other.withUnsafeBytes { bytes in
      try pfns.withUnsafeBufferPointer { pfns in
        try types.withUnsafeBufferPointer { types in
          _ = try writer.append(StagedPages(pfns: pfns, types: types, pages: bytes))
        }
      }
    }
    _ = try writer.publish(manifest)
    guest.write(7, page(200))
    #expect(try take(.continuous, memory: resident ? memory : nil).changes == "compare")
  }

  @Test("a base that went bad under an engine that stays costs one whole epoch, and no take")
  func badBase() throws {
    try take(.continuous, memory: memory)
    let file = try FileHandle(forUpdating: URL(fileURLWithPath: temporary.folder.path + "/00000001.epoch"))
    try file.seek(toOffset: try file.seekToEnd() - 30)
    try file.write(contentsOf: [0x55])
    try file.close()
    guest.write(7, page(200))
    #expect(try take(.continuous, memory: memory).changes == "all")
  }

  @Test(
    "a page that came unlogged for one that went is found by the trace that the other left", arguments: [true, false])
  func exchanged(betweenTakes: Bool) throws {
    try take(.continuous)
    // A balloon driver zeroes what it gives back.
    let exchange: (ScriptedGuest) -> Void = {
      $0.write(6, page(0))
      $0.write(6, nil)
      $0.give(50, page(50))
    }
    if betweenTakes { exchange(guest) } else { guest.whileSuspending = exchange }
    try take(.continuous)
    guest.whileSuspending = { _ in }
    #expect(try take(.continuous).changes == "log")
  }

  @Test("a page that a failed take found, and the log did not have, is in the next epoch")
  func failedAfterResize() throws {
    try take(.continuous, memory: memory)
    guest.whileCopied = { $0.give(50, page(50)) }
    #expect(throws: ScriptedDisks.Fault.commit) { try take(.continuous, memory: memory, disks: .commit) }
    guest.whileCopied = { _ in }
    guest.write(7, page(200))
    #expect(try take(.continuous, memory: memory).changes == "log")
    #expect(guest.copied.contains(50))
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

  @Test("bits that another tool took after a take failed are missed", arguments: [EpochManifest.Kind.pv, .pvh])
  func stolenAfterAFailure(kind: EpochManifest.Kind) throws {
    let guest = ScriptedGuest(pages: self.guest.pages, kind: kind, journal: Journal())
    var options = TakeOptions()
    (options.tracking, options.precopy.smallPages) = (.continuous, 0)
    let take = { (fault: ScriptedDisks.Fault?) in
      let disks = ScriptedDisks(journal: Journal(), fault: fault)
      return try Take(guest, disks: disks, into: self.temporary.folder, options: options, memory: self.memory).run()
    }
    _ = try take(nil)
    guest.write(7, page(200))
    #expect(throws: ScriptedDisks.Fault.commit) { _ = try take(.commit) }
    guest.write(8, page(201))
    guest.stealLog(andSwitchOff: false)
    guest.write(9, page(202))
    let third = try take(nil)
    #expect(try pages(of: third.epoch, in: temporary.folder) == guest.pages)
    #expect(third.statistics?.changes == "compare")
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

  @Test("a take that could not read a log that had been off is not believed afterwards", arguments: [true, false])
  func failedAtTheFirstLook(resident: Bool) throws {
    try take(.continuous, memory: memory)
    guest.write(7, page(200))
    guest.stealLog(andSwitchOff: true)
    guest.fault = .collect
    #expect(throws: ScriptedGuest.Fault.collect) { try take(.continuous, memory: memory) }
    guest.fault = nil
    guest.write(8, page(201))
    #expect(try take(.continuous, memory: resident ? memory : nil).changes == "compare")
  }

  @Test("the note says whose the log is before it is switched on, and as before when there is none")
  func noteFirst() throws {
    try take(.perTake)
    let note = try #require(guest.noteAtBegin.flatMap(TrackingNote.init))
    #expect(note == .owed(token: TrackingNote.noToken, owner: .own))
    #expect(guest.trackingNote == nil)
    guest.canLog = false
    guest.trackingNote = "as it was"
    try take(.perTake)
    #expect(guest.trackingNote == "as it was")
  }

  @Test("bits taken during a take end it, and are not believed afterwards", arguments: [true, false])
  func stolenMeanwhile(resident: Bool) throws {
    try take(.continuous, memory: resident ? memory : nil)
    guest.write(6, page(99))
    guest.whileCopied = {
      $0.write(7, page(200))
      $0.stealLog(andSwitchOff: false)
    }
    #expect(throws: CheckpointError.trackingLost(guest: "web")) {
      try take(.continuous, memory: resident ? memory : nil)
    }
    #expect(guest.condition == .running)
    guest.whileCopied = { _ in }
    #expect(try take(.continuous, memory: resident ? memory : nil).changes == "compare")
  }

  @Test("a log that is switched off, or emptied, while a PV guest is taken ends the take", arguments: [true, false])
  func stolenFromPV(andSwitchOff: Bool) throws {
    let guest = ScriptedGuest(pages: self.guest.pages, kind: .pv, journal: Journal())
    var options = TakeOptions()
    options.tracking = .continuous
    options.precopy.smallPages = 0
    let take = {
      try Take(guest, disks: ScriptedDisks(journal: Journal()), into: temporary.folder, options: options).run()
    }
    if andSwitchOff {
      guest.whileCopied = { $0.stealLog(andSwitchOff: true) }
    } else {
      guest.whileSuspending = { $0.stealLog(andSwitchOff: false) }
    }
    #expect(throws: CheckpointError.trackingLost(guest: "web")) { _ = try take() }
    #expect(guest.condition == .running)
    (guest.whileCopied, guest.whileSuspending) = ({ _ in }, { _ in })
    #expect(try pages(of: take().epoch, in: temporary.folder) == guest.pages)
  }

  @Test("a guest that another tool saves is left alone")
  func beingSaved() throws {
    try take(.continuous)
    guest.write(7, page(200))
    guest.isBeingSaved = true
    #expect(throws: CheckpointError.beingSaved(guest: "web")) { try take(.continuous) }
    #expect(guest.log.contains(7))
    guest.isBeingSaved = false
    #expect(try take(.continuous).changes == "log")
    guest.whileSuspending = { $0.isBeingSaved = true }
    #expect(throws: CheckpointError.trackingLost(guest: "web")) { try take(.perTake) }
    #expect(guest.condition == .running)
    #expect(guest.isLogging)
  }

  @Test("a take into another store that begins meanwhile takes from the log: no epoch is made of what is left")
  func besideAnotherTake() throws {
    try take(.continuous)
    guest.write(7, page(200))
    guest.whileSuspending = { $0.trackingNote = "another's" }
    #expect(throws: CheckpointError.trackingLost(guest: "web")) { try take(.continuous) }
    #expect(guest.trackingNote == "another's" && guest.isLogging)
    guest.whileSuspending = { _ in }
    #expect(try take(.continuous).changes == "compare")
  }

  @Test("what is owed to an epoch that was removed is not all that its elder lacks")
  func debtOfAnotherEpoch() throws {
    try take(.continuous, memory: memory)
    guest.write(5, page(100))
    try take(.continuous, memory: memory)
    guest.write(7, page(200))
    #expect(throws: ScriptedDisks.Fault.commit) { try take(.continuous, memory: memory, disks: .commit) }
    for name in ["00000002.json", "00000002.epoch", "hashes"] { unlink(temporary.folder.path + "/" + name) }
    #expect(try take(.continuous, memory: memory).changes == "compare")
  }

  @Test("after all epochs were removed a take is a full one, under a number of its own", arguments: [true, false])
  func allRemoved(resident: Bool) throws {
    let kept = resident ? memory : nil
    try take(.continuous, memory: kept)
    guest.write(7, page(200))
    try take(.continuous, memory: kept)
    _ = try temporary.folder.remove(epochs: [1, 2])
    let third = try take(.continuous, memory: kept)
    #expect(third.changes == "all" && third.reason == "there is no epoch to build on")
    let epochs = try temporary.folder.epochs().epochs
    #expect(epochs.map(\.epoch) == [3] && epochs.map(\.needs) == [[]])
    guest.write(8, page(201))
    #expect(try take(.continuous, memory: kept).changes == "log")
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
      (0, 0, 100, 0.0, "small"), (0, 0, 9000, 0, nil), (1, 1, 8000, 1, "no longer shrinks"),
      (1, 0, 5000, 1, nil), (8, 0, 5000, 1, "rounds"), (2, 0, 5000, 61, "time"),
      // More than the pause has room for: one round more.
      (1, 1, 9000, 1, nil), (2, 2, 9000, 1, "no longer shrinks"),
    ] as [(Int, Int, Int, Double, String?)])
  func rule(rounds: Int, stalled: Int, left: Int, seconds: Double, end: String?) {
    #expect(
      PrecopyRule().end(rounds: rounds, stalled: stalled, left: left, room: 8500, seconds: seconds) == end)
  }
}
