import DeviceMapper
import EpochStore
import Testing

@testable import Checkpoint

/// A rollback in its two steps: what shows before the guest is destroyed, and what is left where it breaks off.
struct DiskRollbackTests {
  private func house() throws -> PoolHouse {
    let house = try PoolHouse()
    try house.take(1)
    for device in house.devices { house.fake.write("second", to: device) }
    return house
  }

  private func content(_ house: PoolHouse) -> [String?] { house.devices.map { house.fake.content(of: $0) } }

  /// What a guest on the disks could notice, and what decides after a crash.
  private func shown(_ house: PoolHouse) -> ([FakePool.Device?], UInt64) {
    house.fake.kernel { kernel in (house.devices.map { kernel.devices[$0] }, kernel.transactionID) }
  }

  @Test func nothingShowsBeforeTheGuestIsGone() throws {
    let house = try house()
    let before = shown(house)
    let begun = try house.history.beginRollback(to: 1, users: .nobody)
    #expect(shown(house) == before && content(house) == ["second", "second"])
    // Neither a take nor a restore of a neighbour comes in between.
    #expect(throws: PoolError.locked(pool: "p")) { try house.pools.ensureActive("p") }
    // The guest works on until it is destroyed.
    house.fake.write("third", to: "ckpt-web-xvda")
    var done = DiskHistory.RolledBack()
    try begun.finish(&done, users: .nobody)
    #expect(content(house) == ["first", "first"])
    #expect(try house.history.undo(done))
    #expect(content(house) == ["third", "second"])
    // What it brought goes with the next change.
    try house.pools.ensureActive("p")
    try house.expectSettled("after all")
  }

  @Test func whatIsBegunInVainLeavesNothing() throws {
    let house = try house()
    let before = shown(house)
    try house.history.beginRollback(to: 1, users: .nobody).abandon()
    #expect(shown(house) == before)
    try house.expectSettled("after it was taken back")
    // As when whatever comes in between throws.
    _ = try house.history.beginRollback(to: 1, users: .nobody)
    #expect(shown(house) == before)
    try house.expectSettled("after it was forgotten")
  }

  /// A process that dies with the guest not destroyed yet, or just now.
  @Test(arguments: [false, true]) func deathBetweenTheStepsTurnsNothingBack(reboot: Bool) throws {
    let house = try house()
    let before = try house.catalog()
    try beginAndDie(house)
    #expect(try house.catalog().intent != nil)
    house.fake.restart(reboot: reboot)
    try house.pools.ensureActive("p")
    #expect(content(house) == ["second", "second"])
    try house.expectSettled("reboot \(reboot)")
    #expect(try house.catalog().volumes == before.volumes && house.catalog().superseded.isEmpty)
  }

  private func beginAndDie(_ house: PoolHouse) throws {
    let begun = try house.history.beginRollback(to: 1, users: .nobody)
    house.fake.kernel { $0.dead = true }
    withExtendedLifetime(begun) {}
  }

  @Test func aSnapshotThatThePoolLostIsMissedBeforeTheGuestIsDestroyed() throws {
    let house = try house()
    let id = try #require(try house.catalog().snapshots(PoolHouse.uuid, 1).last?.thinID)
    let kept = house.fake.kernel { $0.contents.removeValue(forKey: id) }
    let before = shown(house)
    #expect(throws: DeviceMapperError.self) { try house.history.beginRollback(to: 1, users: .nobody) }
    #expect(shown(house) == before)
    house.fake.kernel { $0.contents[id] = kept }
    try house.expectSettled("after a refusal")
  }

  @Test func whoeverOpensADiskBetweenTheStepsKeepsIt() throws {
    let house = try house()
    let begun = try house.history.beginRollback(to: 1, users: .nobody)
    house.fake.kernel { $0.devices["ckpt-web-xvdb"]?.openCount = 1 }
    var done = DiskHistory.RolledBack()
    #expect(throws: DiskError.self) { try begun.finish(&done, users: .nobody) }
    #expect(content(house) == ["second", "second"])
    #expect(house.history.remainder(of: done, epoch: 1, "why") == nil)
    try house.expectSettled("after a refusal")
  }

  @Test(arguments: [
    (1, "ITS DISKS ckpt-web-xvda ARE AS IN EPOCH 1 and could not be turned back: why"),
    (2, "ITS DISKS ARE AS IN EPOCH 1 and could not be turned back: why"),
  ])
  func whatIsToldOfDisksIsWhatTheyShow(swaps: Int, words: String) throws {
    let house = try house()
    let begun = try house.history.beginRollback(to: 1, users: .nobody)
    house.fake.kernel { ($0.changes, $0.dieAfter) = (0, swaps) }
    var done = DiskHistory.RolledBack()
    #expect(throws: FakePool.Died.self) { try begun.finish(&done, users: .nobody) }
    #expect(throws: FakePool.Died.self) { try house.history.undo(done) }
    house.fake.restart(reboot: false)
    #expect(house.history.remainder(of: done, epoch: 1, "why") == words)
    // Whoever opens the pool next settles it.
    try house.pools.ensureActive("p")
    #expect(content(house) == ["second", "second"])
    #expect(house.history.remainder(of: done, epoch: 1, "why")?.hasPrefix("its disks show what it left") == true)
    #expect(try !house.history.undo(done))
    try house.expectSettled("after \(swaps) swaps")
  }

  /// The guest did not start after all. Of a disk that was lost there is nothing else to show.
  @Test func aDiskThatWasLostStaysOnTheEpochAndThatIsTold() throws {
    let house = try house()
    let lost = try #require(try house.catalog().volumes.first { $0.device == "ckpt-web-xvda" }?.thinID)
    house.fake.restart(reboot: true)
    house.fake.kernel { $0.contents[lost] = nil }
    // Nothing is told of what only was to be done.
    let begun = try house.history.beginRollback(to: 1, users: .nobody)
    house.fake.kernel { $0.losesCommits = true }
    var done = DiskHistory.RolledBack()
    #expect(throws: PoolError.self) { try begun.finish(&done, users: .nobody) }
    house.fake.kernel { ($0.losesCommits, $0.status.mode) = (false, .readWrite) }
    #expect(try !house.history.undo(done))
    #expect(house.history.remainder(of: done, epoch: 1) == nil)

    done = try house.history.rollBack(to: 1)
    #expect(try house.history.undo(done))
    #expect(content(house) == ["first", "second"])
    let words = "disk ckpt-web-xvda, which was lost, shows epoch 1"
    #expect(house.history.remainder(of: done, epoch: 1) == "\(words); its other disks are as it left them")
    let told = house.history.remainder(of: done, epoch: 1, "why")
    #expect(told == "its disks show what it left, but that they were turned back is not settled: why; \(words)")
  }

  @Test func aPoolThatCannotWriteItsMetadataKeepsTheDisks() throws {
    let house = try house()
    let begun = try house.history.beginRollback(to: 1, users: .nobody)
    house.fake.kernel { $0.losesCommits = true }
    var done = DiskHistory.RolledBack()
    #expect(throws: PoolError.self) { try begun.finish(&done, users: .nobody) }
    #expect(content(house) == ["second", "second"])
    #expect(try !house.history.undo(done))
    house.fake.kernel { ($0.losesCommits, $0.status.mode) = (false, .readWrite) }
    try house.pools.ensureActive("p")
    try house.expectSettled("after the repair")
  }

  /// No epoch was taken before it, and nobody knows yet whether the guest came back.
  @Test func theOnlyCopyOfTheDisksIsNotDeletedBeforeTheEnd() throws {
    let house = try CarryHouse(disks: true)
    try house.pool.take(1)
    let folder = try house.folder
    func superseded() throws -> Int { try house.pool.catalog().superseded.count }
    var record = try RollbackRecord(Rollback(epoch: 1, safetyEpoch: nil, reason: "--no-safety"), in: folder)
    try house.pool.history.rollBack(to: 1)
    try house.pool.history.commitRollback()
    #expect(try superseded() == 2)
    try record.end()
    try house.pool.history.commitRollback()
    #expect(try superseded() == 0)

    // The guest's epoch is another copy.
    _ = try RollbackRecord(Rollback(epoch: 1, safetyEpoch: 4), in: folder)
    try house.pool.history.rollBack(to: 1)
    try house.pool.history.commitRollback()
    #expect(try superseded() == 0)
    try house.pool.expectSettled("after both")
  }
}
