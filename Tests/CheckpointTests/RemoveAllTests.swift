import DeviceMapper
import EpochStore
import Foundation
import Testing
import Xen

@testable import Checkpoint

@Suite("Giving a guest up")
struct RemoveAllTests {
  private let stays = "its folder in the store stays, with the numbers that were used"
  private var advice: String { "\(stays); when nothing of this is left: ckpt remove \(PoolHouse.uuid) --all" }

  private func remove(
    _ guest: PruneHouse, running: () throws -> [String: String] = { [:] }, scheduled: Set<String> = [],
    force: Bool = false
  ) throws -> RemovedGuest {
    let overview = try guest.folder.overview()
    let plan = try RemovePlan(
      guest.folder, guest: RemovePlan.name(of: guest.folder, overview), epochs: Set(overview.allNumbers), force: force)
    return try plan.performAll(disks: { guest.house.history }, running: running, scheduled: { scheduled })
  }

  private func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }

  @Test("takes its epochs away, and its folder once it has no disk in a pool any more")
  func disks() throws {
    let guest = try PruneHouse(epochs: 3)
    let first = try remove(guest)
    #expect(first.pruned.removal.epochs == [1, 2, 3] && first.pruned.pools.map(\.snapshots) == [6])
    #expect(!first.isGone && first.remains == ["it has disks in a pool: ckpt disk remove web", advice])
    try guest.expect([], "epochs are removed")
    #expect(!exists(guest.folder.path + "/hashes"))
    #expect(try guest.folder.nextEpochNumber() == 4)
    // No epoch tells any more whose disks they are.
    #expect(try remove(guest).remains == first.remains)

    try Disks(guest.house.pools).remove(guest: "web")
    let second = try remove(guest)
    #expect(second.isGone && second.remains == [] && second.pruned.removal.epochs == [])
    #expect(!exists(guest.folder.path))
  }

  @Test("leaves one that runs, or has a schedule, its numbers, and says what is left")
  func running() throws {
    let guest = try PruneHouse(epochs: 2)
    let removed = try remove(guest, running: { [PoolHouse.uuid: "web"] }, scheduled: ["web", "db"])
    #expect(
      removed.remains == [
        "it runs as 'web': its next epoch holds all of its memory", "it has disks in a pool: ckpt disk remove web",
        "it has a schedule: ckpt schedule remove web", advice,
      ])
    #expect(!removed.isGone)
    try guest.expect([], "epochs are removed")
    try guest.take(3)
    try guest.expect([3], "taken again")
    // By its uuid, too.
    #expect(try remove(guest, scheduled: [PoolHouse.uuid]).remains.contains { $0.contains("schedule remove") })
  }

  @Test("does not take for its own what another guest that runs has under its name")
  func anotherRuns() throws {
    let guest = try PruneHouse(epochs: 2)
    let removed = try remove(guest, running: { ["another": "web"] }, scheduled: ["web"])
    #expect(removed.isGone && removed.remains == [])
    #expect(try guest.house.catalog().volumes.count == 2)
    #expect(!exists(guest.folder.path))
  }

  @Test("gives no advice on disks that may be another guest's of its name")
  func namesake() throws {
    let guest = try PruneHouse(epochs: 1)
    let other = try EpochStore(path: guest.path).folder(uuid: "22222222-2222-3333-4444-555555555555", create: true)
    _ = try other.create(epoch: 1, reserving: 0).publish(
      EpochManifest(guest: "web", uuid: other.uuid, epoch: 1, kind: .pvh, vcpus: 1, memoryBytes: 1 << 20))
    let removed = try remove(guest)
    let told = "'web' has disks in a pool, and the store has epochs of 'web' under another uuid as well: \(other.uuid)"
    #expect(!removed.isGone && removed.remains == [told, advice])
    #expect(try other.epochs().allNumbers == [1])
  }

  @Test("says to give adopted disks back, not to remove them")
  func adopted() throws {
    let (web, temporary) = (try AdoptionHouse(), try TemporaryStore())
    try web.adopt()
    let plan = try RemovePlan(temporary.folder, guest: "web", epochs: [], force: false)
    let removed = try plan.performAll(disks: { web.house.history }, running: { [:] }, scheduled: { [] })
    #expect(!removed.isGone && removed.remains.first == "it has disks in a pool: ckpt release web")
  }

  @Test("leaves the folder where it is not known whether the guest runs, or has a schedule")
  func unknown() throws {
    let guest = try PruneHouse(epochs: 1)
    let first = try remove(guest, running: { throw XenError.notRoot })
    #expect(first.remains == ["\(stays): \(XenError.notRoot)"] && !first.isGone)
    try guest.expect([], "epochs are removed")
    let plan = try RemovePlan(guest.folder, guest: "web", epochs: [], force: false)
    let second = try plan.performAll(
      disks: { nil }, running: { [:] }, scheduled: { throw StoreError.invalid("schedules.json is odd") })
    #expect(second.remains == ["\(stays): schedules.json is odd"] && !second.isGone)
    #expect(exists(guest.folder.path + "/counter"))
  }

  @Test("gives up the disks of epochs that only a pool knows, and knows the guest's disks by them")
  func onlyInPools() throws {
    let guest = try PruneHouse(epochs: 2)
    try FileManager.default.removeItem(atPath: guest.folder.path)
    let folder = try EpochStore(path: guest.path).folder(uuid: PoolHouse.uuid, create: true)
    let plan = try RemovePlan(folder, guest: PoolHouse.uuid, epochs: [1, 2], unknown: [1, 2], force: false)
    let removed = try plan.performAll(disks: { guest.house.history }, running: { [:] }, scheduled: { [] })
    #expect(removed.pruned.pools.map(\.snapshots) == [4])
    #expect(removed.remains == ["it has disks in a pool: ckpt disk remove web", advice])
    #expect(try guest.house.history.epochs() == [])
  }

  @Test("tells of epochs that stay, for nobody agreed to their end")
  func cameMeanwhile() throws {
    let guest = try PruneHouse(epochs: 3)
    let plan = try RemovePlan(guest.folder, guest: "web", epochs: [1, 2], force: false)
    let removed = try plan.performAll(disks: { guest.house.history }, running: { [:] }, scheduled: { [] })
    #expect(removed.remains.first?.hasSuffix(": 3") == true && !removed.isGone)
    try guest.expect([3], "one came meanwhile")
  }

  @Test("is refused while an epoch is mounted, or pinned unless that is wanted; nothing is removed then")
  func refused() throws {
    let guest = try PruneHouse(epochs: 2)
    try guest.folder.setMarks(EpochMarks(pinned: true), of: 2)
    #expect(throws: CheckpointError.pinned(guest: "web", epochs: [2])) { try remove(guest) }
    let disks = try guest.house.catalog().snapshots(PoolHouse.uuid, 1).map {
      EpochManifest.Disk(
        vdev: $0.vdev, pool: "p", thinID: $0.thinID, sizeBytes: $0.sizeSectors * 512,
        device: "/dev/mapper/\($0.device)", readOnly: false)
    }
    let manifest = EpochManifest(
      guest: "web", uuid: PoolHouse.uuid, epoch: 1, kind: .pvh, vcpus: 1, memoryBytes: 1 << 20, disks: disks)
    let views = EpochViews(pools: guest.house.pools, mountTable: { "" })
    let view = try views.make(.whole, "xvda", of: manifest)
    #expect(throws: ViewError.epochsMounted(guest: "web", epochs: [1])) { try remove(guest, force: true) }
    try guest.expect([1, 2], "refused")
    try views.remove(view)
    #expect(try remove(guest, force: true).pruned.removal.epochs == [1, 2])
  }

  @Test("is refused while a take has the guest")
  func locked() throws {
    let guest = try PruneHouse(epochs: 1)
    let lock = try guest.folder.lock(.exclusive)
    #expect(throws: StoreError.self) { try remove(guest) }
    withExtendedLifetime(lock) {}
    try guest.expect([1], "locked")
  }

  @Test("begins with all of its epochs, and of them those that somebody agreed to")
  func plans() throws {
    let guest = try PruneHouse(epochs: 3)
    let engine = Engine(storePath: guest.path)
    #expect(try engine.removeAllPlan("web", force: false).epochs == [1, 2, 3])
    #expect(try engine.removeAllPlan("web", only: [2, 9], force: false).epochs == [2])
    try guest.folder.setMarks(EpochMarks(pinned: true), of: 2)
    #expect(throws: CheckpointError.pinned(guest: "web", epochs: [2])) {
      try engine.removeAllPlan("web", force: false)
    }
    #expect(try engine.removeAllPlan("web", only: [1], force: false).epochs == [1])
    #expect(try engine.removeAllPlan("web", force: true).epochs == [1, 2, 3])
    #expect(throws: CheckpointError.noEpochs(guest: "wbe")) { try engine.removeAllPlan("wbe", force: true) }
    _ = try guest.folder.remove(epochs: [1, 2, 3])
    let empty = try engine.removeAllPlan(PoolHouse.uuid, force: false)
    #expect(empty.epochs == [] && empty.guest == PoolHouse.uuid)
  }
}
