import EpochStore
import Foundation
import MigrationStream
import Testing
import Xen

@testable import Checkpoint

@Suite("Restoring")
struct RestoreTests {
  private static let cases: [(Domain.State?, Bool, Safety)] = [
    (.running, true, .take), (.running, false, .none("--no-safety")),
    (nil, true, .none("the guest did not run")), (nil, false, .none("the guest did not run")),
    (.crashed, true, .none("the guest had crashed")), (.shutdown(reason: 0), true, .none("the guest was shut down")),
    (.dying, true, .none("the guest was being destroyed")), (.paused, false, .none("--no-safety")),
    (.suspended, false, .none("--no-safety")),
  ]

  @Test("The guest is taken before it goes, where it can lose something", arguments: cases)
  func safety(state: Domain.State?, wanted: Bool, safety: Safety) throws {
    #expect(try Safety(wanted: wanted, guest: "web", state, saved: nil) == safety)
  }

  @Test("A guest that xendomains saved and that did not come back is not brought back over it, unless that is wanted")
  func savedByXendomains() throws {
    let file = "/var/lib/xen/save/web"
    func safety(_ state: Domain.State?, wanted: Bool = true) throws -> Safety {
      try Safety(wanted: wanted, guest: "web", state, saved: file)
    }
    #expect {
      try safety(nil)
    } throws: { error in
      let words = ["was not touched", "`xl restore \(file)`", "--no-safety"]
      return ExitStatus(error) == .failed && words.allSatisfy { "\(error)".contains($0) }
    }
    #expect(try safety(nil, wanted: false) == Safety.none("the guest did not run"))
    // Since then it was there again.
    #expect(try safety(.running) == Safety.take)
    #expect(try safety(.crashed) == Safety.none("the guest had crashed"))
    #expect(XendomainsSave.warning(file).hasPrefix(file))
  }

  @Test(
    "A guest that cannot be taken as it is, but could run on, is not destroyed by default",
    arguments: [
      (Domain.State.paused, "xl unpause"), (.suspended, "ckpt recover"),
    ])
  func cannotBeTaken(state: Domain.State, words: String) {
    #expect {
      try Safety(wanted: true, guest: "web", state, saved: nil)
    } throws: { "\($0)".contains("was not touched") && "\($0)".contains(words) && "\($0)".contains("--no-safety") }
  }

  private func publish(_ epochs: ClosedRange<Int>, in folder: GuestFolder, guest: String = "web") throws {
    for epoch in epochs {
      _ = try folder.create(epoch: epoch, reserving: 0).publish(
        EpochManifest(
          guest: guest, uuid: folder.uuid, epoch: epoch, kind: .pvh, vcpus: 1, memoryBytes: 1 << 20,
          statistics: TakeStatistics()))
    }
  }

  @Test("What can be undone is the last rollback, and only with the epoch that was taken before it")
  func undo() throws {
    let store = try TemporaryStore()
    let engine = Engine(storePath: store.path)
    try publish(1...4, in: store.folder)
    func refusal() -> String {
      do { return "\(try engine.undoEpoch("web"))" } catch { return "\(error)" }
    }
    #expect(refusal() == "guest 'web': there is nothing to undo: it was never brought back to an epoch")
    try store.folder.setLastRollback(Rollback(epoch: 1, safetyEpoch: 4))
    #expect(try engine.undoEpoch("web") == 4)
    try store.folder.setMarks(EpochMarks(tags: [Rollback.tag]), of: 4)
    try store.folder.setLastRollback(Rollback(epoch: 2, safetyEpoch: nil, reason: "--no-safety"))
    #expect(refusal().contains("before it went back to epoch 2 at 20") && refusal().contains("(--no-safety)"))
    #expect(refusal().contains("the newest that was taken before a rollback is 4 of 20"))
    try store.folder.setLastRollback(Rollback(epoch: 1, safetyEpoch: 3))
    _ = try store.folder.remove(epochs: [3])
    #expect(refusal() == "guest 'web' has no epoch 3; it has 1, 2, 4")
  }

  @Test("A restore that did not end is undone, too, also when trying again came to nothing, or to an end")
  func undoOfACut() throws {
    let store = try TemporaryStore()
    let engine = Engine(storePath: store.path)
    try publish(1...4, in: store.folder)
    func begin(_ epoch: Int, safety: Int?) throws -> RollbackRecord {
      try RollbackRecord(Rollback(epoch: epoch, safetyEpoch: safety, reason: "the guest did not run"), in: store.folder)
    }
    _ = try begin(2, safety: 4)
    #expect(try engine.undoEpoch("web") == 4)
    var again = try begin(2, safety: nil)
    try again.takeBack()
    #expect(try engine.undoEpoch("web") == 4)
    again = try begin(2, safety: nil)
    #expect(try engine.undoEpoch("web") == 4)
    try again.end()
    #expect(try engine.undoEpoch("web") == 4)
    // To the epoch that it was, without another of what did not run: there is no second undo.
    _ = try begin(2, safety: 4)
    var undo = try begin(4, safety: nil)
    #expect(try engine.undoEpoch("web") == 4)
    try undo.end()
    #expect(throws: CheckpointError.self) { try engine.undoEpoch("web") }
  }

  @Test("A restore that did not end is told of while its guest does not run, with the ways on")
  func unfinished() throws {
    let store = try TemporaryStore()
    let engine = Engine(storePath: store.path)
    let uuid = store.folder.uuid
    try publish(1...4, in: store.folder)
    func told(present: Set<String> = [], running: Set<String> = []) -> [String] {
      engine.unfinishedRestores(of: nil, present: present, running: running).map(\.description)
    }
    func begin(safety: Int?) throws -> RollbackRecord {
      // Whatever is published here is younger.
      let begun = Rollback(time: EpochTime(milliseconds: 1), epoch: 2, safetyEpoch: safety)
      return try RollbackRecord(begun, in: store.folder)
    }
    #expect(told() == [])
    let record = try begin(safety: 4)
    let since = "; if it was started since, start it again instead: what its disks hold now would be lost"
    let words = "the restore of web to epoch 2 did not end: ckpt restore web 2, or ckpt undo web\(since)"
    #expect(told() == [words])
    #expect(try HostStatus.Guest(store.folder).unfinished?.description == words)
    // It is paused, or being made.
    #expect(told(present: [uuid]) == [] && told() == [words])
    let lock = try store.folder.lock(.exclusive)
    #expect(told() == [] && told(present: [uuid], running: [uuid]) == [])
    _ = consume lock
    #expect(told() == [words])
    // Another guest is called so by now.
    let other = try store.store.folder(uuid: "22222222-2222-3333-4444-555555555555", create: true)
    usleep(2000)
    try publish(1...1, in: other)
    let named = "the restore of \(uuid) to epoch 2 did not end: ckpt restore \(uuid) 2, or ckpt undo \(uuid)"
    #expect(told() == [named + since])

    // Somebody started it otherwise: that stays true when it is shut down.
    #expect(told(present: [uuid], running: [uuid]) == [] && told() == [])
    #expect(try store.folder.lastRollback()?.isDone == true && store.folder.overview().safetyEpochs == [4])
    try store.folder.setLastRollback(record.rollback)
    #expect(told().count == 1)
    try publish(5...5, in: store.folder)
    #expect(told() == [])
  }

  @Test("Without an epoch of what the guest was there is only one way on")
  func unfinishedWithoutSafety() {
    let restore = UnfinishedRestore(guest: "web", epoch: 2, canBeUndone: false)
    let way = "ckpt restore web 2, which gives up what its disks held before: no epoch has that"
    #expect("\(restore)".hasPrefix("the restore of web to epoch 2 did not end: \(way); if it was started since, "))
  }

  @Test(
    "What is left of a domain is no guest that is there",
    arguments: [
      (Domain.State.running, false), (.paused, false), (.suspended, false), (.shutdown(reason: 0), true),
      (.crashed, true), (.dying, true),
    ])
  func ended(state: Domain.State, isEnded: Bool) { #expect(state.isEnded == isEnded) }

  @Test("A guest that is gone though its end failed is told to be, with the ways on")
  func endOfTheOld() {
    let tool = CheckpointError.tool(command: "xl destroy 5", status: 1, message: "m")
    let lingers = CheckpointError.backendsLinger(guest: "web", domain: 5)
    #expect(Restore.endFailure(tool, isOldThere: true) == .untouched)
    #expect(Restore.endFailure(tool, isOldThere: false) == .gone)
    #expect(Restore.endFailure(tool, isOldThere: nil) == .told)
    #expect(Restore.endFailure(lingers, isOldThere: false) == .told)
    #expect(Restore.endFailure(lingers, isOldThere: true) == .untouched)
    #expect(Restore.endFailure(CheckpointError.cameBack(guest: "web", domain: 6), isOldThere: false) == .told)
  }

  @Test("That the end cannot be written down is told with what writes it, and what stays until then")
  func unwrittenEnd() {
    let error = StoreError.invalid("no room")
    let end = "that the restore has ended is not written down: no room"
    let way = "; `ckpt recover` writes it down while the guest runs"
    let stays = "; what its disks held before stays in the pool"
    #expect(Restore.noteOfUnwrittenEnd(error, hasDisks: false) == end + way)
    #expect(Restore.noteOfUnwrittenEnd(error, hasDisks: true) == end + way + stays)
  }

  @Test("A restore that fails says what the disks show")
  func failure() {
    func text(_ disks: String?, safety: Int? = nil) -> String {
      "\(CheckpointError.restoreFailed(guest: "web", epoch: 2, message: "m", safetyEpoch: safety, disks: disks))"
    }
    let begin = "guest 'web' is not running: epoch 2 could not be started: m; "
    let kept = "all epochs are kept; run `ckpt restore` again, or"
    #expect(text(nil).hasPrefix(begin + "its disks are as it left them and \(kept)"))
    #expect(text("ITS DISKS ARE ODD").hasPrefix(begin + "ITS DISKS ARE ODD; \(kept)"))
    #expect(text(nil, safety: 4).contains("go back to epoch 4, which was taken of it before: ckpt undo web, or start"))
  }

  @Test("A clone is told what it shares with the original")
  func warnings() {
    #expect(Clone.warnings(of: "web", interfaces: 0).count == 1)
    let two = Clone.warnings(of: "web", interfaces: 2)
    #expect(two[0].contains("machine-id") && two[1].contains("2 network interfaces") && two[1].contains("--paused"))
  }

  @Test("A clone's MAC addresses are of Xen's range and differ")
  func macs() {
    let macs = (0..<64).map { _ in Clone.randomMAC() }
    #expect(macs.allSatisfy { $0.wholeMatch(of: /00:16:3e:[0-7][0-9a-f]:[0-9a-f]{2}:[0-9a-f]{2}/) != nil })
    #expect(Set(macs).count > 60)
  }

  @Test(
    "A guest's name cannot be taken for something else",
    arguments: [
      "", "5", "-x", ".x", "a b", "a/b", "é", String(repeating: "x", count: 65), "Domain-0",
      "11111111-2222-3333-4444-555555555555",
    ])
  func badNames(name: String) {
    #expect {
      try GuestName.check(name)
    } throws: { ExitStatus($0) == .badConfiguration && "\($0)".contains("nothing was changed") }
  }

  @Test("Other names are fine", arguments: ["web", "web-2", "2web", "Web_3.old+x", String(repeating: "x", count: 64)])
  func goodNames(name: String) { #expect(throws: Never.self) { try GuestName.check(name) } }

  @Test("A guest is renamed unless another is called so")
  func rename() throws {
    let store = try TemporaryStore()
    let engine = Engine(storePath: store.path)
    let other = try store.store.folder(uuid: "22222222-2222-3333-4444-555555555555", create: true)
    try publish(1...1, in: store.folder)
    try publish(1...1, in: other, guest: "db")
    #expect(throws: CheckpointError.badName("db", "guest \(other.uuid) of this store is called so")) {
      try engine.rename("web", to: "db")
    }
    #expect(try engine.rename("web", to: "old").old == "web")
    #expect(try engine.rename("old", to: "older").old == "old")
    #expect(throws: CheckpointError.noEpochs(guest: "web")) { try engine.show("web", epoch: .latest) }
    #expect(try engine.show("older", epoch: .latest).manifest.guest == "older")
    // Back to what it was.
    #expect(try engine.rename("older", to: "web").old == "older")
  }

  private func config(_ disks: String) throws -> XLConfig {
    let text = """
      {"c_info": {"type": "pvh", "name": "web", "uuid": "2d0a44de-0000-4000-8000-5b9c1f2e3d4c"},
       "b_info": {"max_vcpus": 1, "max_memkb": 1024, "target_memkb": 1024}, "disks": [\(disks)]}
      """
    return try XLConfig(json: Array(text.utf8))
  }

  @Test(
    "An image that is gone is found out before the guest is destroyed",
    arguments: ["/dev/null/tools.iso", "/nowhere/tools.iso"])
  func absentImage(path: String) throws {
    let disks = try config(
      """
      {"pdev_path": "/dev/mapper/ckpt-web-xvda", "vdev": "xvda", "readwrite": 1},
      {"pdev_path": "/dev/null", "vdev": "xvdb"}, {"pdev_path": "\(path)", "vdev": "xvdc", "is_cdrom": 1}
      """)
    let absent = try #require(disks.absentDisk(besides: ["xvda"]))
    #expect(absent.vdev == "xvdc" && absent.path == path)
    #expect(disks.absentDisk(besides: ["xvda", "xvdc"]) == nil)
    #expect(disks.paths(besides: ["xvda"]) == ["/dev/null", path])
  }

  @Test(
    "What dom0 cannot look for is left to xl",
    arguments: [
      #"{"vdev": "xvdc", "format": "empty", "is_cdrom": 1}"#, #"{"vdev": "xvdc", "pdev_path": ""}"#,
      #"{"vdev": "xvdc", "pdev_path": "nbd:host:10809"}"#,
      #"{"vdev": "xvdc", "pdev_path": "/nowhere", "backend_domid": 3}"#,
      #"{"vdev": "xvdc", "pdev_path": "/nowhere", "backend_domname": "storage"}"#,
      #"{"vdev": "xvdc", "pdev_path": "/nowhere", "script": "block-drbd"}"#,
    ])
  func notOfDom0(disk: String) throws {
    let told = try config(disk)
    #expect(told.absentDisk(besides: []) == nil)
    #expect(told.paths(besides: []).isEmpty)
  }

  @Test("A terminal's Ctrl-C does not reach the tools that a restore runs")
  func ownProcessGroup() throws {
    let told = try Command.finish(["cut", "-d", " ", "-f", "5", "/proc/self/stat"])
    #expect(told.status == 0)
    let group = try #require(pid_t(told.output.split(whereSeparator: \.isNewline).joined()))
    #expect(group > 0 && group != getpgrp())
  }

  // MARK: Removing

  @Test("Epochs go with their disks, and take nothing from others")
  func remove() throws {
    let guest = try PruneHouse(epochs: 4)
    let plan = try RemovePlan(guest.folder, guest: "web", epochs: [1, 3], force: false)
    let removed = try plan.perform(disks: { guest.house.history })
    #expect(removed.removal.epochs == [1, 3] && removed.removal.retained == [1])
    #expect(removed.pools.map(\.snapshots) == [4])
    try guest.expect([2, 4], "after a removal")
  }

  @Test("A pinned epoch stays, and so does what was to go with it")
  func pinned() throws {
    let guest = try PruneHouse(epochs: 3)
    let plan = try RemovePlan(guest.folder, guest: "web", epochs: [1, 2], force: false)
    try guest.folder.setMarks(EpochMarks(pinned: true), of: 2)
    let error = CheckpointError.pinned(guest: "web", epochs: [2])
    // Also when it was pinned after somebody was asked.
    #expect(throws: error) { try plan.perform(disks: { guest.house.history }) }
    #expect(throws: error) { try RemovePlan(guest.folder, guest: "web", epochs: [1, 2], force: false) }
    try guest.expect([1, 2, 3], "with a pinned epoch")
    _ = try RemovePlan(guest.folder, guest: "web", epochs: [1, 2], force: true).perform(disks: { guest.house.history })
    try guest.expect([3], "by force")
  }

  @Test("A take under the caller's lock needs no other, and leaves it locked")
  func takeUnderLock() throws {
    let store = try TemporaryStore()
    let journal = Journal()
    let lock = try store.folder.lock(.exclusive)
    func take(under lock: FolderLock?) throws -> EpochManifest {
      var options = TakeOptions()
      options.stagingBytes = 64 * 4096
      return try Take(
        ScriptedGuest(pages: [1: page(1)], journal: journal), disks: ScriptedDisks(journal: journal),
        into: store.folder,
        options: options, under: lock
      ).run()
    }
    #expect(throws: StoreError.self) { try take(under: nil) }
    #expect(try take(under: lock).epoch == 1)
    #expect(throws: StoreError.self) { try store.folder.lock(.shared) }
    withExtendedLifetime(lock) {}
  }
}
