import EpochStore
import Foundation
import Synchronization
import Testing
import Xen

@testable import Checkpoint

func page(_ value: UInt8) -> [UInt8] { (0..<4096).map { UInt8(truncatingIfNeeded: $0 / 7) ^ value } }

@Suite("A take")
struct TakeTests {
  private let journal = Journal()

  /// A take with nothing in its way but what the test puts there.
  private func take(
    _ guest: ScriptedGuest, into temporary: TemporaryStore, disks: ScriptedDisks? = nil,
    options: TakeOptions = TakeOptions()
  ) throws -> EpochManifest {
    var options = options
    options.stagingBytes = 64 * 4096
    // These guests are smaller than what the rule calls small.
    options.precopy.smallPages = 0
    return try Take(
      guest, disks: disks ?? ScriptedDisks(journal: journal), into: temporary.folder, options: options
    ).run()
  }

  @Test("holds what memory was while the guest stood still, not what it became", arguments: [true, false])
  func content(canLog: Bool) throws {
    let temporary = try TemporaryStore()
    let memory = Dictionary(uniqueKeysWithValues: (0..<40).map { (UInt64($0 * 3), page(UInt8($0))) })
    let guest = ScriptedGuest(pages: memory, journal: journal)
    guest.canLog = canLog
    guest.whileCopied = { $0.write(6, page(100)) }
    guest.whileSuspending = { $0.write(9, page(200)) }
    guest.afterResume = { for pfn in $0.pages.keys { $0.write(pfn, page(0xEE)) } }
    let manifest = try take(guest, into: temporary)
    var expected = memory
    expected[6] = page(100)
    expected[9] = page(200)
    #expect(try pages(of: manifest.epoch, in: temporary.folder) == expected)
    #expect(guest.condition == .running)
  }

  @Test("that waited for another one's pool copies once more what the guest wrote meanwhile")
  func waitedForPool() throws {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1), 2: page(2)], journal: journal)
    let disks = ScriptedDisks(
      journal: journal,
      whileReserving: {
        usleep(600_000)
        guest.write(2, page(9))
      })
    let manifest = try take(guest, into: temporary, disks: disks)
    #expect(try pages(of: manifest.epoch, in: temporary.folder) == [1: page(1), 2: page(9)])
    let reserved = try #require(journal.position("reserve"))
    #expect(try #require(journal.last("collect")) > reserved)
    #expect(try #require(journal.last("collect")) < (try #require(journal.position("request"))))
  }

  @Test("asks before it snapshots, snapshots and copies before it resumes, settles the disks after")
  func order() throws {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1), 2: page(2)], journal: journal)
    _ = try take(guest, into: temporary)
    let suspended = try #require(journal.position("suspended"))
    let resumed = try #require(journal.position("resume"))
    for event in ["snapshot", "last look", "processors", "state"] {
      #expect(try #require(journal.position(event)) > suspended)
      #expect(try #require(journal.last(event)) < resumed)
    }
    // Other guests' takes have the pool until the live copy is done.
    #expect(try #require(journal.position("check")) < (try #require(journal.position("arm"))))
    #expect(try #require(journal.position("reserve")) > (try #require(journal.last("arm"))))
    #expect(try #require(journal.position("reserve")) < (try #require(journal.position("request"))))
    // What disturbs other tools comes after all live copying, right before the request.
    let prepared = try #require(journal.position("prepareRequest"))
    #expect(try #require(journal.last("collect")) < prepared)
    #expect(journal.position("request") == prepared + 1)
    #expect(try #require(journal.position("commit")) > resumed)
  }

  @Test("follows a guest that balloons while it suspends, out and in", arguments: [true, false])
  func ballooning(canLog: Bool) throws {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1), 2: page(2), 3: page(3)], journal: journal)
    guest.canLog = canLog
    guest.whileSuspending = {
      $0.write(2, nil)
      for pfn in UInt64(10)..<20 { $0.write(pfn, page(UInt8(pfn))) }
    }
    let manifest = try take(guest, into: temporary)
    #expect(try pages(of: manifest.epoch, in: temporary.folder).keys.sorted() == [1, 3] + Array(10..<20))
  }

  @Test("leaves out pages whose type carries no data")
  func holes() throws {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1), 2: page(2), 5: page(5)], journal: journal)
    guest.types = [2: 0xF]
    let manifest = try take(guest, into: temporary)
    #expect(try pages(of: manifest.epoch, in: temporary.folder) == [1: page(1), 5: page(5)])
  }

  @Test("copies a page table that was torn while the guest ran again in the pause")
  func torn() throws {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1), 2: page(2)], journal: journal)
    guest.torn = [2]
    let manifest = try take(guest, into: temporary)
    #expect(try pages(of: manifest.epoch, in: temporary.folder) == [1: page(1), 2: page(2)])
    #expect(try #require(manifest.statistics).rounds.contains { $0.torn == 1 })
  }

  @Test(
    "that fails anywhere leaves the guest running and nothing behind",
    arguments: [
      ScriptedGuest.Fault.arm, .prepareRequest, .request, .awaitSuspended, .copy, .processors, .state, .collect,
      .lastLook,
    ])
  func guestFaults(fault: ScriptedGuest.Fault) throws {
    let temporary = try TemporaryStore()
    let first = ScriptedGuest(pages: [1: page(1)], journal: Journal())
    _ = try take(first, into: temporary, disks: ScriptedDisks(journal: Journal()))
    let before = temporary.files

    let guest = ScriptedGuest(pages: [1: page(2)], journal: journal)
    guest.fault = fault
    #expect(throws: fault) { try take(guest, into: temporary) }
    #expect(guest.condition == .running)
    #expect(journal.events.contains("abandon"))
    #expect(temporary.files == before)
    #expect(try pages(of: 1, in: temporary.folder) == [1: page(1)])
  }

  @Test("whose disks fail does the same", arguments: [ScriptedDisks.Fault.check, .reserve, .snapshot, .commit])
  func diskFaults(fault: ScriptedDisks.Fault) throws {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1)], journal: journal)
    #expect(throws: fault) {
      try take(guest, into: temporary, disks: ScriptedDisks(journal: journal, fault: fault))
    }
    #expect(guest.condition == .running)
    // There is nothing to take back before.
    #expect(journal.events.contains("abandon") == (fault != .check))
    #expect(temporary.files.isEmpty)
    #expect(journal.events.contains("request") == (fault == .snapshot || fault == .commit))
  }

  @Test("lets the guest go at the hard limit, whatever hangs meanwhile")
  func hangs() throws {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1)], journal: journal)
    guest.beforeState = { guest in
      // Hangs until somebody else has resumed the guest.
      while guest.condition == .suspended { usleep(1000) }
    }
    var options = TakeOptions()
    options.mostPauseSeconds = 0.2
    #expect(throws: CheckpointError.pauseTooLong(guest: "web", seconds: 0.2)) {
      try take(guest, into: temporary, options: options)
    }
    #expect(journal.events.filter { $0 == "resume" }.count == 1)
    #expect(temporary.files.isEmpty)
  }

  @Test("makes no epoch of a guest that another tool let go while it was held")
  func letGo() throws {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1)], journal: journal)
    guest.isLetGo = true
    #expect(throws: CheckpointError.letGo(guest: "web")) { try take(guest, into: temporary) }
    #expect(temporary.files.isEmpty)
  }

  @Test("makes no epoch of a guest whose disks are others after the pause than before the take")
  func otherDisks() throws {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1)], journal: journal)
    guest.getsDisk = true
    #expect(throws: CheckpointError.disksChanged(guest: "web")) { try take(guest, into: temporary) }
    #expect(guest.condition == .running && temporary.files.isEmpty)
    guest.getsDisk = false
    _ = try take(guest, into: temporary)
  }

  @Test("whose rest does not fit gives up before it asks the guest, if it may not spill")
  func noRoom() throws {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1), 2: page(2)], most: 256, journal: journal)
    guest.whileCopied = { guest in for pfn in UInt64(1)..<200 { guest.write(pfn, page(UInt8(pfn))) } }
    var options = TakeOptions()
    options.threads = 1
    options.staging = .abort
    #expect(throws: CheckpointError.stagingFull(guest: "web", bytes: 64 * 4096)) {
      try take(guest, into: temporary, options: options)
    }
    #expect(!journal.events.contains("request"))
  }

  @Test("says that the guest is still suspended, above all else, when it cannot be resumed")
  func resumeFails() throws {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1)], journal: journal)
    guest.fault = .resume
    #expect(throws: ScriptedGuest.Fault.resume) {
      try take(guest, into: temporary, disks: ScriptedDisks(journal: journal, fault: .snapshot))
    }
  }

  @Test("undoes nothing in the pools while the snapshots are still being made, if the guest cannot be resumed")
  func resumeFailsBeforeTheSnapshots() throws {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1)], journal: journal)
    guest.fault = .resume
    let disks = ScriptedDisks(journal: journal) { [journal] in
      while journal.position("resume") == nil { usleep(1000) }
      // Time to do it too early.
      usleep(50_000)
    }
    var options = TakeOptions()
    options.mostPauseSeconds = 0.01
    #expect(throws: ScriptedGuest.Fault.resume) { try take(guest, into: temporary, disks: disks, options: options) }
    #expect(try #require(journal.position("snapshot made")) < (try #require(journal.position("abandon"))))
  }

  @Test("does not begin while another holds the guest's folder")
  func locked() throws {
    let temporary = try TemporaryStore()
    let lock = try temporary.folder.lock(.exclusive)
    let guest = ScriptedGuest(pages: [1: page(1)], journal: journal)
    #expect { try take(guest, into: temporary) } throws: {
      if case StoreError.locked = $0 { true } else { false }
    }
    #expect(!journal.events.contains("request"))
    // Who waits for it hears that it is to stop.
    let cancellation = TakeCancellation()
    cancellation.cancel()
    #expect(throws: CheckpointError.interrupted) {
      try Take(
        guest, disks: ScriptedDisks(journal: journal), into: temporary.folder, cancellation: cancellation
      ).run()
    }
    withExtendedLifetime(lock) {}
  }

  @Test("counts epochs up and never gives a number twice")
  func numbers() throws {
    let temporary = try TemporaryStore()
    var numbers: [Int] = []
    for fault in [nil, ScriptedGuest.Fault.copy, nil] {
      let guest = ScriptedGuest(pages: [1: page(1)], journal: journal)
      guest.fault = fault
      if let manifest = try? take(guest, into: temporary) { numbers.append(manifest.epoch) }
    }
    #expect(numbers == [1, 3])
    #expect(
      journal.events.filter { $0.hasPrefix("published") } == ["published: []", "published: [1]", "published: [1]"])
  }

  @Test("goes on above the numbers of disks that only a pool knows of, and says so")
  func numbersOfAnotherFolder() throws {
    let temporary = try TemporaryStore()
    let disks = ScriptedDisks(journal: journal)
    disks.unknown.withLock { $0 = [DiskOnlyEpochs(pool: "p", guestUUID: "u", epochs: [1, 7])] }
    let manifest = try take(ScriptedGuest(pages: [1: page(1)], journal: journal), into: temporary, disks: disks)
    #expect(manifest.epoch == 8)
    let notes = try #require(manifest.statistics).notes
    #expect(notes.count { $0.contains("pool p has disks of epoch 1 to 7 of guest u") } == 1)
    // Counted as used from then on.
    disks.unknown.withLock { $0 = [] }
    #expect(try take(ScriptedGuest(pages: [1: page(1)], journal: journal), into: temporary).epoch == 9)
  }

  @Test("ends when the pause lasts too long: the guest runs, no epoch is made")
  func hardLimit() throws {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1)], journal: journal)
    guest.whileSuspending = { _ in Thread.sleep(forTimeInterval: 0.05) }
    var options = TakeOptions()
    options.mostPauseSeconds = 0.01
    #expect(throws: CheckpointError.pauseTooLong(guest: "web", seconds: 0.01)) {
      try take(guest, into: temporary, options: options)
    }
    #expect(guest.condition == .running)
    #expect(temporary.files.isEmpty)
  }

  @Test("writes out within the pause what does not fit into its memory, or gives up, as it is told")
  func staging() throws {
    let temporary = try TemporaryStore()
    var options = TakeOptions()
    options.threads = 1
    options.stagingBytes = 4 * 4096
    for policy in StagingPolicy.allCases {
      options.staging = policy
      let guest = ScriptedGuest(pages: [1: page(1)], journal: journal)
      guest.whileSuspending = { for pfn in UInt64(10)..<40 { $0.write(pfn, page(UInt8(pfn))) } }
      let take = Take(guest, disks: ScriptedDisks(journal: journal), into: temporary.folder, options: options)
      switch policy {
      case .spill:
        let manifest = try take.run()
        #expect(try pages(of: manifest.epoch, in: temporary.folder).count == 31)
        #expect(try #require(manifest.statistics).spilledBytes >= 24 * 4096)
        #expect(try #require(journal.position("unmap")) < #require(journal.position("resume")))
      case .abort:
        #expect(throws: CheckpointError.stagingFull(guest: "web", bytes: 4 * 4096)) { try take.run() }
      }
      #expect(guest.condition == .running)
    }
  }

  @Test("that is told to stop stops before the pause, and leaves nothing")
  func cancelled() throws {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1)], journal: journal)
    let cancellation = TakeCancellation()
    var options = TakeOptions()
    options.precopy.smallPages = 0
    guest.whileCopied = { _ in cancellation.cancel() }
    #expect(throws: CheckpointError.interrupted) {
      try Take(
        guest, disks: ScriptedDisks(journal: journal), into: temporary.folder, options: options,
        cancellation: cancellation
      ).run()
    }
    #expect(!journal.events.contains("request"))
    #expect(temporary.files.isEmpty)
  }

  @Test("that is told to stop while the guest has not taken the request stops, and leaves nothing")
  func cancelledWhileDeaf() throws {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1)], journal: journal)
    guest.isDeaf = true
    let cancellation = TakeCancellation()
    guest.whileSuspending = { _ in cancellation.cancel() }
    #expect(throws: CheckpointError.interrupted) {
      try Take(
        guest, disks: ScriptedDisks(journal: journal), into: temporary.folder, cancellation: cancellation
      ).run()
    }
    #expect(journal.events.contains("request") && !journal.events.contains("resume"))
    #expect(guest.condition == .running)
    #expect(temporary.files.isEmpty)
  }

  @Test("whose time is over while the guest has not taken the request stops")
  func timedOutWhileDeaf() throws {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1)], journal: journal)
    guest.isDeaf = true
    var options = TakeOptions()
    options.timeoutSeconds = 1
    #expect(throws: CheckpointError.timedOut(guest: "web", seconds: 1)) {
      try take(guest, into: temporary, options: options)
    }
    #expect(guest.condition == .running)
    #expect(temporary.files.isEmpty)
  }

  @Test("whose time is over when its pools become free does not ask the guest")
  func timedOutByPool() throws {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1)], journal: journal)
    // Too short a wait for another live copy.
    let disks = ScriptedDisks(journal: journal, whileReserving: { usleep(400_000) })
    var options = TakeOptions()
    options.timeoutSeconds = 0.3
    #expect(throws: CheckpointError.timedOut(guest: "web", seconds: 0.3)) {
      try take(guest, into: temporary, disks: disks, options: options)
    }
    #expect(!journal.events.contains("request"))
  }

  @Test("tells the way in which the guest was asked in the end, and why")
  func losesChannel() throws {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1)], journal: journal)
    guest.losesChannel = true
    let manifest = try take(guest, into: temporary)
    #expect(manifest.suspendPath == "xenstore")
    #expect(try #require(manifest.statistics).notes == ["the channel is gone"])
  }

  @Test("tells how long its CPUs took to read, though that went on beside the copy")
  func processorTime() throws {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1), 2: page(2)], journal: journal)
    guest.whileSuspending = { $0.write(2, page(9)) }
    guest.whileReadingProcessors = { _ in usleep(50_000) }
    // Nothing is left to wait for when the copy is done.
    guest.beforeHeldCopy = { while $0.journal.position("processors") == nil { usleep(1000) } }
    let manifest = try take(guest, into: temporary)
    #expect(try #require(manifest.phases["copy_state"]) >= 50)
  }

  @Test("counts the zero pages of each round")
  func zeroPages() throws {
    let temporary = try TemporaryStore()
    let zeroes = [UInt8](repeating: 0, count: 4096)
    let guest = ScriptedGuest(pages: [1: zeroes, 2: page(2), 3: page(3)], journal: journal)
    guest.whileSuspending = { $0.write(3, zeroes) }
    let statistics = try #require(try take(guest, into: temporary).statistics)
    #expect(statistics.rounds.first?.zero == 1)
    #expect(statistics.rounds.last?.zero == 1)
    #expect(statistics.rounds.compactMap(\.zero).reduce(0, +) == statistics.zeroPages)
  }

  @Test("tells pause, stop, every phase and every round")
  func statistics() throws {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1)], journal: journal)
    guest.suspendNote = "said"
    // Freezing takes a guest long enough for a thread to begin.
    guest.whileSuspending = { _ in usleep(100_000) }
    let manifest = try take(guest, into: temporary)
    #expect(manifest.pauseMs >= manifest.stopMs)
    #expect(
      Set(manifest.phases.keys).isSuperset(of: [
        "probe", "reserve", "arm", "precopy", "request", "freeze", "copy", "disks", "resume", "write", "publish",
        "copy_log", "copy_mapping", "copy_pages", "copy_state",
      ]))
    #expect(manifest.phases["disks_create_snap"] == 1.5)
    #expect(manifest.suspendPath == "xenstore")
    #expect(manifest.disks == ScriptedDisks(journal: journal).disks)
    let statistics = try #require(manifest.statistics)
    #expect(statistics.rounds.map(\.name).first == "1")
    #expect(statistics.rounds.map(\.name).suffix(2) == ["freeze", "pause"])
    #expect(statistics.notes == ["said"])
    #expect(statistics.changes == "all")
    #expect(statistics.totalMs > 0)
  }
}
