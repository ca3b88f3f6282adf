import Testing

@testable import EpochStore

@Suite("What a guest's folder tells of its last rollback")
struct RollbackTests {
  private let store: TemporaryStore
  private var folder: GuestFolder { store.folder }

  init() throws { store = try TemporaryStore() }

  /// Long before whatever is published here.
  private func begin(_ epoch: Int, safety: Int?) throws -> RollbackRecord {
    try RollbackRecord(
      Rollback(time: EpochTime(milliseconds: 1), epoch: epoch, safetyEpoch: safety, reason: safety == nil ? "why" : ""),
      in: folder)
  }

  private func publish(_ epoch: Int, at time: Int64, isTaken: Bool = true) throws {
    var manifest = store.manifest(epoch, at: time)
    manifest.statistics = isTaken ? TakeStatistics() : nil
    _ = try folder.create(epoch: epoch, reserving: 0).publish(manifest)
  }

  @Test("is what was written, and which epochs are to stay")
  func remembered() throws {
    #expect(try folder.lastRollback() == nil && folder.overview().safetyEpochs == [])
    var rollback = Rollback(epoch: 3, safetyEpoch: 7, olderSafetyEpochs: [2, 5], isDone: true)
    try folder.setLastRollback(rollback)
    #expect(try folder.lastRollback() == rollback && folder.overview().safetyEpochs == [2, 5, 7])
    (rollback.safetyEpoch, rollback.olderSafetyEpochs, rollback.reason) = (nil, [], "the guest did not run")
    try folder.setLastRollback(rollback)
    #expect(try folder.lastRollback() == rollback && folder.overview().safetyEpochs == [])
  }

  @Test("written by an older version is of one that ended")
  func older() throws {
    let text = #"{"epoch": 3, "reason": "", "safety_epoch": 7, "time": "2026-08-01T12:34:56.789Z"}"#
    try folder.publish(bytes: Array(text.utf8), as: store.path("rollback"))
    let last = try #require(try folder.lastRollback())
    #expect(last.isDone && last.destroys && last.olderSafetyEpochs == [] && last.wayBack == 7)
    #expect(try folder.unendedRollback() == nil)
  }

  @Test("that did not end: its way back is that of the next try, too")
  func carriedOver() throws {
    _ = try begin(2, safety: 9)
    var again = try begin(2, safety: nil)
    #expect(again.rollback.safetyEpoch == 9 && again.rollback.reason == "why" && !again.rollback.isDone)
    #expect(try folder.unendedRollback() == again.rollback)
    try again.end()
    #expect(try folder.lastRollback() == again.rollback && folder.unendedRollback() == nil)
    #expect(again.rollback.isDone && again.rollback.wayBack == 9)
    // That one has ended: it is undone no more.
    #expect(try begin(4, safety: nil).rollback.safetyEpochs == [])
  }

  @Test("that had no guest to destroy, unless an earlier one had that did not end")
  func destroys() throws {
    func begin(destroys: Bool) throws -> RollbackRecord {
      let begun = Rollback(
        time: EpochTime(milliseconds: 1), epoch: 2, safetyEpoch: nil, reason: "why", destroys: destroys)
      return try RollbackRecord(begun, in: folder)
    }
    _ = try begin(destroys: false)
    #expect(try folder.lastRollback()?.destroys == false)
    #expect(try !begin(destroys: false).rollback.destroys)
    _ = try begin(destroys: true)
    var again = try begin(destroys: false)
    #expect(again.rollback.destroys)
    try again.end()
    #expect(try !begin(destroys: false).rollback.destroys)
  }

  @Test("that did not end: what undoes it stays beside what undoes the next")
  func bothStay() throws {
    _ = try begin(2, safety: 9)
    _ = try begin(2, safety: 10)
    var last = try begin(3, safety: 11)
    #expect(last.rollback.safetyEpoch == 11 && last.rollback.olderSafetyEpochs == [9, 10])
    try last.end()
    #expect(try folder.overview().safetyEpochs == [9, 10, 11])
    #expect(try begin(4, safety: 12).rollback.safetyEpochs == [12])
  }

  @Test("that did not end, after which the guest ran: that is not the way back from the next, but stays")
  func ranSince() throws {
    _ = try begin(2, safety: 9)
    // By a clock that was set back it is older, and by its number the epoch itself is no younger one.
    try publish(9, at: 2)
    #expect(try folder.unendedRollback()?.safetyEpoch == 9)
    try publish(10, at: 0)
    #expect(try folder.unendedRollback()?.safetyEpoch == 9)
    // What is imported does not tell that it ran.
    try publish(11, at: 2, isTaken: false)
    #expect(try folder.unendedRollback()?.safetyEpoch == 9)
    try publish(12, at: 2)
    #expect(try folder.unendedRollback() == nil)
    let next = try begin(5, safety: nil).rollback
    #expect(next.safetyEpoch == nil && next.olderSafetyEpochs == [9])
  }

  @Test("that undid another by going where that came from: it has undone it when it has ended")
  func undone() throws {
    _ = try begin(2, safety: 9)
    var undo = try begin(9, safety: nil)
    #expect(undo.rollback.wayBack == 9)
    try undo.end()
    #expect(undo.rollback.wayBack == nil && undo.rollback.safetyEpochs == [9])
  }

  @Test("is taken back with what was known before", arguments: [nil, "{}", "no JSON"] as [String?])
  func takenBack(other: String?) throws {
    var record = try begin(2, safety: 9)
    try record.takeBack()
    #expect(try !StoreName.exists(store.path("rollback")))

    try folder.setLastRollback(Rollback(epoch: 1, safetyEpoch: 7, isDone: true))
    if let other { try folder.publish(bytes: Array(other.utf8), as: store.path("rollback")) }
    let text = try Tamper(path: store.path("rollback")).read()
    record = try begin(2, safety: nil)
    #expect(try folder.lastRollback() == record.rollback)
    try record.takeBack()
    #expect(try Tamper(path: store.path("rollback")).read() == text)
  }

  @Test("where it cannot be read: no epoch goes that was taken before a rollback, not after the next one either")
  func unreadable() throws {
    for epoch in 1...4 { try publish(epoch, at: Int64(epoch)) }
    for epoch in [2, 3] { try folder.setMarks(EpochMarks(tags: [Rollback.tag]), of: epoch) }
    try folder.publish(bytes: Array("{}".utf8), as: store.path("rollback"))
    #expect(throws: StoreError.self) { try folder.lastRollback() }
    #expect(throws: StoreError.self) { try folder.unendedRollback() }
    #expect(try folder.overview().safetyEpochs == [2, 3])
    #expect(try folder.overview().subjects.map(\.undoesRollback) == [false, true, true, false])
    var record = try begin(1, safety: 3)
    #expect(record.rollback.olderSafetyEpochs == [2])
    try record.end()
    #expect(try folder.overview().safetyEpochs == [2, 3])
  }

  @Test("of a guest that runs has ended")
  func runs() throws {
    try folder.endLastRollback()
    #expect(try folder.lastRollback() == nil)
    _ = try begin(2, safety: 9)
    try folder.endLastRollback()
    #expect(try folder.lastRollback()?.isDone == true && folder.overview().safetyEpochs == [9])
  }
}
