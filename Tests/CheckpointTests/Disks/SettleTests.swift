import DeviceMapper
import Testing

@testable import Checkpoint

/// Every change of a pool, killed before and after each of its steps, in a process that dies and in a host that reboots. What the next
/// operation finds must be the state before or the state after.
struct SettleTests {
  enum Change: String, CaseIterable {
    case createDisk, take, rollBack, undoRollback, commitRollback, forget, abandon, cloneDisks, removeDisks
  }

  @Test(arguments: Change.allCases, [false, true])
  func killedAtEveryStep(_ change: Change, reboot: Bool) throws {
    var steps = 0
    while try kill(change, at: steps + 1, after: false, reboot: reboot) {
      _ = try kill(change, at: steps + 1, after: true, reboot: reboot)
      steps += 1
    }
    // A change without a step would make this test empty.
    #expect(steps >= 2, "\(change) has \(steps) steps")
  }

  /// Each device is made in two steps, between which it has our uuid and shows nothing.
  @Test(arguments: 1...6) func aStartThatWasKilledIsEndedByTheNext(step: Int) throws {
    let house = try PoolHouse()
    house.fake.restart(reboot: true)
    house.fake.kernel { ($0.changes, $0.dieAfter) = (0, step) }
    #expect(throws: FakePool.Died.self) { try house.pools.ensureActive("p") }
    house.fake.restart(reboot: false)
    try house.pools.ensureActive("p")
    try house.expectSettled("after step \(step)")
    #expect(house.devices.map { house.fake.content(of: $0) } == ["first", "first"])
  }

  @Test func aDeviceWithoutATableIsLeftToWhoHasItOpenOrMadeIt() throws {
    let house = try PoolHouse()
    house.fake.kernel { kernel in
      kernel.devices["ckpt-web-xvda"]?.table = []
      kernel.devices["ckpt-web-xvda"]?.openCount = 1
    }
    #expect(try house.pools.ensureActive("p").first?.contains("the kernel runs ''") == true)
    house.fake.kernel { kernel in
      kernel.devices["ckpt-web-xvda"]?.openCount = 0
      kernel.devices["ckpt-web-xvda"]?.uuid = "LVM-x"
    }
    #expect(try house.pools.ensureActive("p").first?.contains("made by another program") == true)
    #expect(house.fake.kernel { $0.devices["ckpt-web-xvda"]?.uuid } == "LVM-x")
  }

  /// - Returns: false when the change was over before it reached the step.
  private func kill(_ change: Change, at step: Int, after: Bool, reboot: Bool) throws -> Bool {
    let house = try PoolHouse()
    try house.take(1)
    for device in house.devices { house.fake.write("second", to: device) }
    if change == .removeDisks { _ = try Disks(house.pools).clone("copy", ofGuest: PoolHouse.uuid, epoch: 1) }
    var done = DiskHistory.RolledBack()
    if change == .undoRollback || change == .commitRollback { done = try house.history.rollBack(to: 1) }
    let before = try house.catalog()

    house.fake.kernel { kernel in
      kernel.changes = 0
      if after { kernel.dieAfter = step } else { kernel.dieBefore = step }
    }
    var died = false
    do { try run(change, done, in: house) } catch is FakePool.Died { died = true }
    // An error that the change swallowed (a clean-up that may fail) still killed the process.
    died = died || house.fake.kernel { $0.dead }
    house.fake.restart(reboot: reboot)
    try house.pools.ensureActive("p")

    let context: Comment = "\(change) killed \(after ? "after" : "before") step \(step), reboot \(reboot)"
    try house.expectSettled(context)
    try expectOldOrNew(change, house, before, context)
    return died
  }

  private func run(_ change: Change, _ done: DiskHistory.RolledBack, in house: PoolHouse) throws {
    switch change {
    case .createDisk: _ = try Disks(house.pools).create(guest: "web", vdev: "xvdc", size: 1 << 20)
    case .take: try house.take(2)
    case .rollBack: try house.history.rollBack(to: 1)
    case .undoRollback: try house.history.undo(done)
    case .commitRollback: try house.history.commitRollback()
    case .forget: try house.history.forget(epoch: 1)
    case .abandon:
      let disks = try house.guestDisks()
      try disks.reserve(epoch: 2)
      _ = try disks.snapshot()
      try disks.abandon()
    case .cloneDisks: _ = try Disks(house.pools).clone("copy", ofGuest: PoolHouse.uuid, epoch: 1)
    case .removeDisks: try Disks(house.pools).remove(guest: "copy")
    }
  }

  private func expectOldOrNew(
    _ change: Change, _ house: PoolHouse, _ before: PoolCatalog, _ context: Comment
  ) throws {
    // Whatever happened, the older epoch is what it was, or wholly gone when it was to be forgotten.
    let epoch = try house.content(ofEpoch: 1)
    let whole = ["xvda": "first", "xvdb": "first"]
    #expect(epoch == whole || (change == .forget && epoch.isEmpty), context)

    let live = house.devices.map { house.fake.content(of: $0) }
    let (old, rolledBack): ([String?], [String?]) = (["second", "second"], ["first", "first"])
    switch change {
    case .rollBack, .undoRollback: #expect(live == old || live == rolledBack, context)
    case .commitRollback: #expect(live == rolledBack, context)
    default: #expect(live == old, context)
    }
    // All disks of a clone, or none.
    let cloned = ["ckpt-copy-xvda", "ckpt-copy-xvdb"].map { house.fake.content(of: $0) }
    #expect(cloned == ["first", "first"] || cloned == [nil, nil], context)
    // Ids are never given twice.
    #expect(try house.catalog().nextThinID >= before.nextThinID, context)
  }
}
