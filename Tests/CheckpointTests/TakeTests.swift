import EpochStore
import Testing

@testable import Checkpoint

private func page(_ value: UInt8) -> [UInt8] { (0..<4096).map { UInt8(truncatingIfNeeded: $0 / 7) ^ value } }

@Suite("A take")
struct TakeTests {
  private let journal = Journal()

  @Test("holds what memory was while the guest stood still, not what it became")
  func content() throws {
    let temporary = try TemporaryStore()
    let memory = Dictionary(uniqueKeysWithValues: (0..<40).map { (UInt64($0 * 3), page(UInt8($0))) })
    let guest = ScriptedGuest(pages: memory, journal: journal)
    guest.whileSuspending = { $0.pages[9] = page(200) }
    let manifest = try Take(guest, disks: ScriptedDisks(journal: journal), into: temporary.folder).run()
    var expected = memory
    expected[9] = page(200)
    #expect(try pages(of: manifest.epoch, in: temporary.folder) == expected)
    #expect(guest.state == .running)
  }

  @Test("asks before it snapshots, snapshots and copies before it resumes, settles the disks after")
  func order() throws {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1), 2: page(2)], journal: journal)
    _ = try Take(guest, disks: ScriptedDisks(journal: journal), into: temporary.folder).run()
    let suspended = try #require(journal.position("suspended"))
    let resumed = try #require(journal.position("resume"))
    for event in ["snapshot", "copy", "records"] {
      #expect(try #require(journal.position(event)) > suspended)
      #expect(try #require(journal.last(event)) < resumed)
    }
    #expect(try #require(journal.position("reserve")) < (try #require(journal.position("request"))))
    #expect(try #require(journal.position("commit")) > resumed)
  }

  @Test("follows a guest that balloons while it suspends, out and in")
  func ballooning() throws {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1), 2: page(2), 3: page(3)], journal: journal)
    guest.whileSuspending = {
      $0.pages[2] = nil
      for pfn in UInt64(10)..<20 { $0.pages[pfn] = page(UInt8(pfn)) }
    }
    let manifest = try Take(guest, disks: ScriptedDisks(journal: journal), into: temporary.folder).run()
    #expect(try pages(of: manifest.epoch, in: temporary.folder).keys.sorted() == [1, 3] + Array(10..<20))
  }

  @Test("refuses a guest that grew beyond its maximum; it runs on")
  func growth() throws {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1)], most: 4, journal: journal)
    guest.whileSuspending = { for pfn in UInt64(10)..<20 { $0.pages[pfn] = page(1) } }
    #expect(throws: CheckpointError.grew(guest: "web", pages: 11, capacity: 4)) {
      try Take(guest, disks: ScriptedDisks(journal: journal), into: temporary.folder).run()
    }
    #expect(guest.state == .running)
  }

  @Test("leaves out pages whose type carries no data")
  func holes() throws {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1), 2: page(2), 5: page(5)], journal: journal)
    guest.types = [2: 0xF]
    let manifest = try Take(guest, disks: ScriptedDisks(journal: journal), into: temporary.folder).run()
    #expect(try pages(of: manifest.epoch, in: temporary.folder) == [1: page(1), 5: page(5)])
  }

  @Test(
    "that fails anywhere leaves the guest running and nothing behind",
    arguments: [ScriptedGuest.Fault.arm, .request, .awaitSuspended, .copy, .records])
  func guestFaults(fault: ScriptedGuest.Fault) throws {
    let temporary = try TemporaryStore()
    let first = ScriptedGuest(pages: [1: page(1)], journal: Journal())
    _ = try Take(first, disks: ScriptedDisks(journal: Journal()), into: temporary.folder).run()
    let before = temporary.files

    let guest = ScriptedGuest(pages: [1: page(1)], journal: journal)
    guest.fault = fault
    #expect(throws: fault) {
      try Take(guest, disks: ScriptedDisks(journal: journal), into: temporary.folder).run()
    }
    #expect(guest.state == .running)
    #expect(journal.events.contains("abandon"))
    #expect(temporary.files == before)
    #expect(try pages(of: 1, in: temporary.folder) == [1: page(1)])
  }

  @Test("whose disks fail does the same", arguments: [ScriptedDisks.Fault.reserve, .snapshot, .commit])
  func diskFaults(fault: ScriptedDisks.Fault) throws {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1)], journal: journal)
    #expect(throws: fault) {
      try Take(guest, disks: ScriptedDisks(journal: journal, fault: fault), into: temporary.folder).run()
    }
    #expect(guest.state == .running)
    // A reserve that fails takes its own steps back.
    #expect(journal.events.contains("abandon") == (fault != .reserve))
    #expect(temporary.files.isEmpty)
    #expect(journal.events.contains("request") == (fault != .reserve))
  }

  @Test("says that the guest is still suspended, above all else, when it cannot be resumed")
  func resumeFails() throws {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1)], journal: journal)
    guest.fault = .resume
    #expect(throws: ScriptedGuest.Fault.resume) {
      try Take(guest, disks: ScriptedDisks(journal: journal, fault: .snapshot), into: temporary.folder).run()
    }
  }

  @Test("does not begin while another holds the guest's folder")
  func locked() throws {
    let temporary = try TemporaryStore()
    let lock = try temporary.folder.lock(.exclusive)
    let guest = ScriptedGuest(pages: [1: page(1)], journal: journal)
    #expect { try Take(guest, disks: ScriptedDisks(journal: journal), into: temporary.folder).run() } throws: {
      if case StoreError.locked = $0 { true } else { false }
    }
    #expect(!journal.events.contains("request"))
    withExtendedLifetime(lock) {}
  }

  @Test("counts epochs up and never gives a number twice")
  func numbers() throws {
    let temporary = try TemporaryStore()
    var numbers: [Int] = []
    for fault in [nil, ScriptedGuest.Fault.copy, nil] {
      let guest = ScriptedGuest(pages: [1: page(1)], journal: journal)
      guest.fault = fault
      if let manifest = try? Take(guest, disks: ScriptedDisks(journal: journal), into: temporary.folder).run() {
        numbers.append(manifest.epoch)
      }
    }
    #expect(numbers == [1, 3])
    #expect(
      journal.events.filter { $0.hasPrefix("published") } == ["published: []", "published: [1]", "published: [1]"])
  }

  @Test("tells pause, stop and every phase")
  func statistics() throws {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1)], journal: journal)
    let manifest = try Take(guest, disks: ScriptedDisks(journal: journal), into: temporary.folder).run()
    #expect(manifest.pauseMs >= manifest.stopMs)
    #expect(
      Set(manifest.phases.keys).isSuperset(of: [
        "probe", "reserve", "arm", "request", "freeze", "copy", "disks", "resume", "write", "publish",
      ]))
    #expect(manifest.phases["disks_create_snap"] == 1.5)
    #expect(manifest.suspendPath == "xenstore")
    #expect(manifest.disks == ScriptedDisks(journal: journal).disks)
  }
}
