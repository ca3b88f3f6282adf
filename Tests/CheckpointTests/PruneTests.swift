import DeviceMapper
import EpochStore
import Foundation
import Testing

@testable import Checkpoint

/// A guest with epochs in a store and their disks in a pool on a fake kernel.
final class PruneHouse {
  let house: PoolHouse
  let folder: GuestFolder
  let path = FileManager.default.temporaryDirectory.path + "/ckpt-prune-\(UInt64.random(in: 0...UInt64.max))"

  /// One epoch a day, each with a page that the first brought and one of its own.
  init(epochs: Int) throws {
    house = try PoolHouse()
    folder = try EpochStore(path: path).folder(uuid: PoolHouse.uuid, create: true)
    for epoch in 1...epochs { try take(epoch) }
  }
  deinit { try? FileManager.default.removeItem(atPath: path) }

  func take(_ epoch: Int, publish: Bool = true) throws {
    try house.take(epoch)
    for snapshot in try house.catalog().snapshots(PoolHouse.uuid, epoch) {
      house.fake.kernel { kernel in
        kernel.blocks[snapshot.thinID] = 10
        kernel.status.usedDataBlocks += 10
      }
    }
    guard publish else {
      // As a take does before it touches the disks.
      return try Data("\(epoch)\n".utf8).write(to: URL(fileURLWithPath: folder.path + "/counter"))
    }
    let writer = try folder.create(epoch: epoch, reserving: 0, base: folder.base())
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 4096)
    defer { bytes.deallocate() }
    for pfn in epoch == 1 ? [0, 16] : [16] as [UInt64] {
      for index in bytes.indices { bytes[index] = UInt8.random(in: 0...255) }
      try [pfn].withUnsafeBufferPointer { pfns in
        try [0].withUnsafeBufferPointer { types in
          _ = try writer.append(StagedPages(pfns: pfns, types: types, pages: UnsafeRawBufferPointer(bytes)))
        }
      }
    }
    _ = try writer.publish(
      EpochManifest(
        guest: "web", uuid: PoolHouse.uuid, epoch: epoch,
        time: EpochTime(milliseconds: Int64(epoch) * 86_400_000), kind: .pvh, vcpus: 1, memoryBytes: 1 << 20))
  }

  static func last(_ count: Int) -> RetentionPolicy {
    var policy = RetentionPolicy()
    policy.last = count
    return policy
  }

  @discardableResult
  func prune(keeping count: Int) throws -> Pruned { try prune(PrunePlan(folder, Self.last(count))) }

  @discardableResult
  func prune(_ plan: PrunePlan) throws -> Pruned { try plan.perform(disks: { house.history }) }

  /// Store and pool have exactly these epochs, all whole.
  func expect(_ epochs: [Int], _ context: Comment) throws {
    #expect(try folder.epochs().allNumbers == epochs, context)
    #expect(try house.history.epochs() == epochs, context)
    for epoch in epochs { try folder.open(epoch: epoch).verify() }
    try house.expectSettled(context)
  }
}

@Suite("Pruning a guest")
struct PruneTests {
  @Test("Epochs go from store and pool, and the bytes of both are told")
  func bytes() throws {
    let guest = try PruneHouse(epochs: 4)
    let plan = try PrunePlan(guest.folder, PruneHouse.last(2))
    #expect(plan.guest == "web" && plan.removed == [1, 2])
    let pruned = try guest.prune(plan)
    #expect(pruned.removal.epochs == [1, 2])
    // Epoch 1 holds a page that all need, epoch 2 only its own.
    #expect(pruned.removal.retained == [1])
    #expect(pruned.freedBytes > 0 && pruned.heldBytes > 0)
    // Two epochs of two disks with ten blocks of 64 KiB.
    #expect(pruned.pools == [.init(pool: "p", snapshots: 4, inUse: 0, freedBytes: 40 * 65536)])
    #expect(pruned.poolProblem == nil)
    try guest.expect([3, 4], "pruned")
    try guest.take(5)
    try guest.expect([3, 4, 5], "taken again")
  }

  @Test("Nothing to remove is no error, and what an interrupted take left goes")
  func leftovers() throws {
    let guest = try PruneHouse(epochs: 2)
    try guest.take(3, publish: false)
    let pruned = try guest.prune(keeping: 5)
    #expect(pruned.removal.epochs == [] && pruned.pools.map(\.snapshots) == [2])
    try guest.expect([1, 2], "swept")
  }

  @Test("A snapshot that is in use goes later, and it is said")
  func inUse() throws {
    let guest = try PruneHouse(epochs: 2)
    let id = try #require(try guest.house.catalog().snapshots(PoolHouse.uuid, 1).first?.thinID)
    guest.house.fake.kernel { kernel in
      var device = kernel.devices["ckpt-web-xvda"]!
      device.table = [.thin(pool: device.number, id: id, sectors: 2048)]
      kernel.devices["strange"] = device
    }
    #expect(
      try guest.prune(keeping: 1).pools == [.init(pool: "p", snapshots: 1, inUse: 1, freedBytes: 10 * 65536)])
    guest.house.fake.kernel { $0.devices["strange"] = nil }
    try guest.house.pools.ensureActive("p")
    try guest.expect([2], "later")
  }

  @Test("What is pinned after the plan was shown stays")
  func pinnedMeanwhile() throws {
    let guest = try PruneHouse(epochs: 4)
    let plan = try PrunePlan(guest.folder, PruneHouse.last(1))
    #expect(plan.removed == [1, 2, 3])
    try guest.folder.setMarks(EpochMarks(pinned: true), of: 2)
    #expect(try guest.prune(plan).removal.epochs == [1, 3])
    try guest.expect([2, 4], "pinned")
  }

  @Test("What the last rollback is undone with stays until the next rollback, or until it is removed by its number")
  func wayBack() throws {
    let guest = try PruneHouse(epochs: 4)
    let plan = try PrunePlan(guest.folder, PruneHouse.last(1))
    // After the plan was shown, too.
    try guest.folder.setLastRollback(Rollback(epoch: 1, safetyEpoch: 3))
    #expect(try guest.prune(plan).removal.epochs == [1, 2])
    let verdicts = try PrunePlan(guest.folder, PruneHouse.last(1)).verdicts
    #expect(verdicts.map { $0.reasons.map(\.description) } == [["ckpt undo"], ["last"]])
    try guest.expect([3, 4], "after a rollback")

    try guest.take(5)
    try guest.folder.setLastRollback(Rollback(epoch: 3, safetyEpoch: 5))
    try guest.take(6)
    #expect(try guest.prune(keeping: 1).removal.epochs == [3, 4])
    try guest.expect([5, 6], "after the next rollback")
    _ = try RemovePlan(guest.folder, guest: "web", epochs: [5], force: false).perform(disks: { guest.house.history })
    try guest.expect([6], "after it was removed")
  }

  @Test("What a restore that did not end is undone with stays, also when it is tried again, or cannot be read")
  func wayBackFromACut() throws {
    let guest = try PruneHouse(epochs: 3)
    try guest.folder.setMarks(EpochMarks(tags: [Rollback.tag]), of: 2)
    // Its epochs are days of 1970.
    _ = try RollbackRecord(Rollback(epoch: 1, safetyEpoch: 2), in: guest.folder)
    var again = try RollbackRecord(Rollback(epoch: 1, safetyEpoch: nil, reason: "it did not run"), in: guest.folder)
    try again.end()
    #expect(try guest.prune(keeping: 1).removal.epochs == [1])
    try Data("{}".utf8).write(to: URL(fileURLWithPath: guest.folder.path + "/rollback"))
    try guest.take(4)
    #expect(try guest.prune(keeping: 1).removal.epochs == [3])
    try guest.expect([2, 4], "with a record that nobody can read")
    try guest.folder.setLastRollback(Rollback(epoch: 4, safetyEpoch: nil, isDone: true))
    #expect(try guest.prune(keeping: 1).removal.epochs == [2])
  }

  @Test("A full file system gets the reserve for one more try, and only that")
  func fullFileSystem() throws {
    let store = try TemporaryStore()
    let reserve = SpaceReserve(store: store.path)
    reserve.fill()
    func isThere() -> Bool { FileManager.default.fileExists(atPath: store.path + "/reserve") }
    for code in [ENOSPC, EDQUOT] {
      var tries: [Bool] = []
      try reserve.lend {
        tries.append(isThere())
        if tries.count == 1 { throw PoolError.io(operation: "write", path: "x", errno: code) }
      }
      #expect(tries == [true, false] && isThere())
    }
    var tries = 0
    #expect(throws: PoolError.io(operation: "write", path: "x", errno: EIO)) {
      try reserve.lend {
        tries += 1
        throw PoolError.io(operation: "write", path: "x", errno: EIO)
      }
    }
    #expect(tries == 1)
  }

  @Test("What was taken after the plan was shown pushes nothing out that was not shown")
  func takenMeanwhile() throws {
    let guest = try PruneHouse(epochs: 3)
    let plan = try PrunePlan(guest.folder, PruneHouse.last(2))
    try guest.take(4)
    #expect(try guest.prune(plan).removal.epochs == [1])
    try guest.expect([2, 3, 4], "taken")
  }

  @Test("What younger epochs do not need is given back later where it is told to stop, or a part is enough for now")
  func compactionIsPutOff() throws {
    let cancelled = TakeCancellation()
    cancelled.cancel()
    let ways: [(Engine) throws -> Pruned] = [
      { try $0.prune(try plan($0), cancellation: cancelled) }, { try $0.prune(try plan($0), budget: 0) },
      { try $0.remove(try $0.removePlan("web", epochs: [1], force: false), cancellation: cancelled) },
    ]
    for way in ways {
      let guest = try PruneHouse(epochs: 3)
      let engine = Engine(storePath: guest.path)
      let pruned = try way(engine)
      #expect(pruned.removal.epochs == [1] && pruned.removal.retained == [1])
      #expect(!pruned.compaction.isComplete && pruned.compaction.freedBytes == 0)
      #expect(pruned.notes.count == 1 && pruned.notes[0].contains("the next prune gives it back"))
      let next = try engine.prune(try plan(engine))
      #expect(next.removal.epochs == [] && next.compaction.isComplete && next.compaction.freedBytes > 0)
      #expect(next.notes.isEmpty)
      for epoch in 2...3 { try guest.folder.open(epoch: epoch).verify() }
    }
  }

  private func plan(_ engine: Engine) throws -> PrunePlan {
    try #require(try engine.prunePlans("web", PruneHouse.last(2)).first)
  }

  @Test("A guest that is being taken is left alone")
  func locked() throws {
    let guest = try PruneHouse(epochs: 2)
    let lock = try guest.folder.lock(.exclusive)
    #expect(throws: StoreError.self) { try guest.prune(keeping: 1) }
    withExtendedLifetime(lock) {}
    try guest.expect([1, 2], "locked")
  }

  @Test("A policy that would leave nothing names the guest")
  func refused() throws {
    let guest = try PruneHouse(epochs: 2)
    var policy = RetentionPolicy()
    policy.tags = ["gold"]
    let error = #expect(throws: CheckpointError.self) { try PrunePlan(guest.folder, policy) }
    #expect(error?.description.contains("'web'") == true && error?.description.contains("nothing was changed") == true)
  }

  @Test("Pools that cannot be reached are told of, and the next prune makes up for it")
  func poolsAway() throws {
    let guest = try PruneHouse(epochs: 3)
    guest.house.fake.kernel { $0.status.mode = .readOnly }
    let pruned = try guest.prune(keeping: 1)
    #expect(pruned.poolProblem?.contains("read-only") == true)
    #expect(try guest.folder.epochs().allNumbers == [3])
    guest.house.fake.kernel { $0.status.mode = .readWrite }
    try guest.prune(keeping: 1)
    try guest.expect([3], "mended")
  }

  @Test(
    "Killed at every step of the pool, nothing that exists is harmed and the next prune ends it",
    arguments: [true, false])
  func killed(reboot: Bool) throws {
    var step = 1
    while true {
      let guest = try PruneHouse(epochs: 3)
      guest.house.fake.kernel { ($0.changes, $0.dieAfter) = (0, step) }
      // The store goes first: dying is something that happens to the pool.
      let died = try guest.prune(keeping: 1).poolProblem != nil
      guest.house.fake.restart(reboot: reboot)
      #expect(try guest.folder.epochs().allNumbers == [3])
      try guest.folder.open(epoch: 3).verify()
      #expect(try guest.house.history.epochs().contains(3))
      try guest.prune(keeping: 1)
      try guest.house.pools.ensureActive("p")
      try guest.expect([3], "step \(step)")
      guard died else { break }
      step += 1
    }
    #expect(step > 3)
  }
}
