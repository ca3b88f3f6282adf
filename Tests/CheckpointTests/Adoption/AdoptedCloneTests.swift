import DeviceMapper
import EpochStore
import Testing

@testable import Checkpoint

/// Clones of a guest whose disk is adopted: epoch 1 has what the old volume holds, "before"; the guest wrote "later" since.
struct AdoptedCloneTests {
  private let web: AdoptionHouse
  /// What the manifest of epoch 1 names.
  private let expected: [DiskEpoch]
  private let copy = "ckpt-copy-xvda"
  private let originDevice = "ckpt-web-xvda-origin"
  /// Of the clone.
  private static let uuid = "6f1c2f0e-0000-4000-8000-000000000002"
  private var disks: Disks { Disks(web.house.pools) }
  private var history: DiskHistory { DiskHistory(web.house.pools, guestUUID: Self.uuid) }

  init() throws {
    web = try AdoptionHouse()
    try web.adopt()
    expected = try web.take(1)
    web.write("later")
  }

  @discardableResult
  private func clone(_ name: String = "copy") throws -> [String: String] {
    try disks.clone(name, ofGuest: PoolHouse.uuid, epoch: 1)
  }

  /// Takes an epoch of the clone.
  @discardableResult
  private func take(_ epoch: Int) throws -> [DiskEpoch] {
    let number = try #require(web.fake.kernel { $0.devices[copy]?.number })
    let disk = GuestDisk(vdev: "xvda", number: number, path: "/dev/mapper/\(copy)", readOnly: false)
    let disks = try GuestDisks(pools: web.house.pools, guest: "copy", guestUUID: Self.uuid, disks: [disk])
    try disks.reserve(epoch: epoch)
    _ = try disks.snapshot()
    try disks.commit()
    return disks.disks
  }

  /// A device that reads "before" by the origin, of which it has nothing itself.
  private func expectOnOrigin(_ device: String, _ context: Comment) {
    let number = web.fake.kernel { $0.devices[originDevice]?.number }
    #expect(number != nil, context)
    #expect(web.fake.kernel { $0.devices[device]?.table.first?.thinVolume?.origin } == number, context)
    #expect(web.fake.content(of: device) == "before", context)
  }

  private func format() throws -> Int? {
    let text = String(decoding: try DurableFile.read("\(web.house.store)/pools/p/catalog.json"), as: UTF8.self)
    return text.firstMatch(of: /"format" *: *([0-9]+)/).flatMap { Int($0.1) }
  }

  @Test func aCloneReadsFromTheOriginAndWritesToItself() throws {
    #expect(try format() == 2)
    #expect(try clone() == ["xvda": "/dev/mapper/\(copy)"])
    // Who does not know of such disks does not read the catalogue.
    #expect(try format() == 4)
    expectOnOrigin(copy, "a clone")
    web.fake.write("mine", to: copy)
    #expect(web.fake.content(of: copy) == "mine")
    #expect(web.fake.content(of: originDevice) == "before" && web.read() == "later")
    try web.house.expectSettled("after a clone")
  }

  @Test(arguments: [false, true])
  func afterABootItStandsOnTheOriginAgain(lvmWasFirst: Bool) throws {
    try clone()
    web.fake.restart(reboot: true)
    if lvmWasFirst { try web.fake.activate(#require(LogicalVolume("vg0/web"))) }
    #expect(try web.house.pools.ensureActive("p").isEmpty)
    expectOnOrigin(copy, "after a boot")
    #expect(web.read() == "later")
    try web.house.expectSettled("after a boot")
  }

  @Test func aTableWithoutTheOriginIsNotTheCatalogues() throws {
    try clone()
    web.fake.kernel { kernel in
      guard let line = kernel.devices[copy]?.table.first, let thin = line.thinVolume else { return }
      kernel.devices[copy]?.table = [.thin(pool: thin.pool, id: thin.id, sectors: line.sectors)]
    }
    #expect(throws: DiskError.self) { try take(1) }
    let faults = try web.house.pools.ensureActive("p")
    #expect(faults.count == 1 && faults[0].contains("disk \(copy): the kernel runs"))
    #expect(web.read() == "later")
  }

  @Test func aCloneIsTakenAndGoesBack() throws {
    try clone()
    let expected = try take(1)
    web.fake.write("mine", to: copy)
    try history.check(epoch: 1, expected: expected)
    let done = try history.rollBack(to: 1)
    expectOnOrigin(copy, "after a rollback")
    try history.undo(done)
    #expect(web.fake.content(of: copy) == "mine")
    try history.rollBack(to: 1)
    try history.commitRollback()
    expectOnOrigin(copy, "after another rollback")
    #expect(web.read() == "later")
    try web.house.expectSettled("after rollbacks")
  }

  @Test(arguments: [EpochView.Kind.whole, .scratch])
  func itsEpochsAreShownOverTheOrigin(kind: EpochView.Kind) throws {
    try clone()
    let manifest = EpochManifest(
      guest: "copy", uuid: Self.uuid, epoch: 1, kind: .pvh, vcpus: 1, memoryBytes: 1 << 20, disks: try take(1))
    let views = EpochViews(pools: web.house.pools, mountTable: { "" })
    let view = try views.make(kind, "xvda", of: manifest)
    expectOnOrigin(view.device, "a view")
    try views.remove(view)
    try web.house.expectSettled("after a view")
  }

  @Test func itsEpochsAreCarriedOverTheOrigin() throws {
    try clone()
    try take(1)
    let pool = try web.house.pools.open("p")
    let snapshot = try #require(pool.catalog.snapshots(Self.uuid, 1).first)
    let device = try CarriedDevices(pools: web.house.pools).make(snapshot, in: pool, readOnly: true)
    expectOnOrigin(device, "carried")
  }

  @Test func aCloneOfACloneStandsOnTheSameOrigin() throws {
    try clone()
    try take(1)
    _ = try disks.clone("second", ofGuest: Self.uuid, epoch: 1)
    try history.forget(epoch: 1)
    try disks.remove(guest: "copy")
    expectOnOrigin("ckpt-second-xvda", "a clone's clone")
    web.stop()
    let second = AdoptionError.Disk(guest: "second", vdev: "xvda")
    #expect(throws: AdoptionError.hasClones(guest: "web", vdev: "xvda", volume: "vg0/web", clones: [second])) {
      try Release(web.house.pools, guest: "web").perform()
    }
    try web.house.expectSettled("after a clone's clone")
  }

  // MARK: Release

  @Test func aReleaseIsRefusedUntilItsClonesAreGone() throws {
    try clone()
    try take(1)
    web.stop()
    let refused = AdoptionError.hasClones(
      guest: "web", vdev: "xvda", volume: "vg0/web", clones: [.init(guest: "copy", vdev: "xvda")])
    #expect(refused.description.contains("ckpt disk remove copy xvda"))
    for discard in [false, true] {
      #expect(throws: refused) { try Release(web.house.pools, guest: "web").perform(discard: discard) }
    }
    #expect(try web.origin()?.state == .adopted)
    // Epochs of the clone keep its disk, and so the origin.
    #expect(throws: DiskError.hasEpochs(guest: "copy", device: copy, epochs: [1])) { try disks.remove(guest: "copy") }
    try history.forget(epoch: 1)
    #expect(throws: refused) { try Release(web.house.pools, guest: "web").perform() }

    try disks.remove(guest: "copy")
    #expect(try format() == 2)
    #expect(try Release(web.house.pools, guest: "web").perform() == [1 << 20])
    #expect(web.read() == "later")
    try web.expectPlain("after the clone")
  }

  @Test func noDiskIsReleasedWhenThereIsACloneOfALaterOne() throws {
    let guestDisks = [web.disk, web.addData()]
    try web.adopt(guestDisks)
    let both = try GuestDisks(
      pools: web.house.pools, guest: "web", guestUUID: PoolHouse.uuid, disks: guestDisks)
    try both.reserve(epoch: 2)
    _ = try both.snapshot()
    try both.commit()
    _ = try disks.clone("copy", ofGuest: PoolHouse.uuid, epoch: 2)
    try disks.remove(guest: "copy", vdev: "xvda")
    web.stop()
    let refused = AdoptionError.hasClones(
      guest: "web", vdev: "xvdb", volume: "vg0/web-data", clones: [.init(guest: "copy", vdev: "xvdb")])
    #expect(throws: refused) { try Release(web.house.pools, guest: "web").perform() }
    #expect(try web.origin()?.state == .adopted)
    // The one that has none can go alone.
    #expect(try Release(web.house.pools, guest: "web", named: ["xvda"]).perform() == [1 << 20])
    #expect(web.read() == "later")
  }

  // MARK: The origin's guard

  private func check(_ name: String) throws {
    try disks.checkClone(name, ofGuest: PoolHouse.uuid, epoch: 1, expected: expected)
  }

  @Test func aDryRunSaysWhatTheRunSays() throws {
    let before = try web.house.catalog()
    try check("copy")
    #expect(try web.house.catalog() == before)
    try clone()
    #expect(throws: DiskError.exists(device: copy)) { try check("copy") }
    // Somebody wrote past the pool.
    web.fake.kernel { $0.raw[web.plain.parameters] = "past the pool" }
    let changed = AdoptionError.originChanged(guest: "web", vdev: "xvda", volume: "vg0/web")
    #expect(throws: changed) { try check("other") }
    #expect(throws: changed) { try clone("other") }
    web.fake.kernel { $0.raw[web.plain.parameters] = "before" }
    try check("other")
    // Another tool's table stands over ours, and the guest uses it.
    web.refreshByLVM()
    let replaced = AdoptionError.replaced(guest: "web", vdev: "xvda", volume: "vg0/web", found: "\(web.plain)")
    #expect(throws: replaced) { try check("other") }
    #expect(throws: replaced) { try clone("other") }
    #expect(try disks.list().map(\.guest) == ["web", "copy"])
  }

  @Test func anOriginThatWasWrittenToGuardsTheClonesRestores() throws {
    try clone()
    let expected = try take(1)
    web.fake.kernel { $0.raw[web.plain.parameters] = "past the pool" }
    let changed = AdoptionError.originChanged(guest: "web", vdev: "xvda", volume: "vg0/web")
    #expect(throws: changed) { try history.check(epoch: 1, expected: expected) }
    #expect(throws: changed) { try history.checkRollback(to: 1, users: .nobody) }
    #expect(throws: changed) { try history.rollBack(to: 1) }
    // After a boot neither of the two is made.
    web.fake.restart(reboot: true)
    let faults = try web.house.pools.ensureActive("p")
    #expect(faults.count == 2 && faults[0] == "\(changed)")
    #expect(faults.last?.hasPrefix("disk xvda of copy is a clone's") == true)
    #expect(web.fake.kernel { $0.devices[copy] } == nil)
    #expect(throws: AdoptionError.self) { try history.rollBack(to: 1) }
    // The way out.
    try history.forget(epoch: 1)
    try disks.remove(guest: "copy")
    _ = try Release(web.house.pools, guest: "web").perform(discard: true)
    #expect(web.read() == "past the pool")
  }

  @Test func aTableThatLVMReplacedStopsTakesOfTheClone() throws {
    try clone()
    web.refreshByLVM()
    let error = #expect(throws: AdoptionError.self) { try take(1) }
    #expect(error?.description.contains("IS NOT OURS ANY MORE") == true)
    #expect(try web.origin()?.wasPassedBy == true)
    #expect(try format() == 4)
    // Nor is it trusted when the original is gone.
    web.stop()
    #expect(throws: AdoptionError.self) { try take(1) }
  }

  // MARK: Names

  @Test func epochsThatWereImportedForADiskOfTheNameAreNotPutOverTheOrigin() throws {
    let folder = PoolFolder(store: web.house.store, name: "p")
    var catalog = try folder.load()
    catalog.epochs.append(
      PoolCatalog.Snapshot(
        guestUUID: Self.uuid, epoch: 7, vdev: "xvda", thinID: try catalog.takeThinID(), sizeSectors: 2048, device: copy)
    )
    try folder.save(catalog)
    let refused = DiskError.badName(
      "copy", why: "epochs of another guest are restored to \(copy); call this one otherwise")
    #expect(throws: refused) { try check("copy") }
    #expect(throws: refused) { try clone() }
    try clone("other")
  }

  // MARK: Crashes

  /// Killed at every step, with or without a boot, a clone and then its removal are there or not.
  @Test(arguments: 1...5, [false, true])
  func aKilledCloneOrRemovalIsSettled(step: Int, reboot: Bool) throws {
    func kill(_ context: Comment, _ body: () throws -> Void) throws -> Bool {
      web.fake.kernel { ($0.changes, $0.dieAfter) = (0, step) }
      try? body()
      web.fake.restart(reboot: reboot)
      #expect(try web.house.pools.ensureActive("p").isEmpty, context)
      try web.house.expectSettled(context)
      let isThere = try web.house.catalog().volumes.contains { $0.guest == "copy" }
      if isThere { expectOnOrigin(copy, context) }
      #expect(web.read() == "later", context)
      return isThere
    }
    if try !kill("a clone, step \(step)", { try clone() }) { try clone() }
    if try kill("a removal, step \(step)", { try disks.remove(guest: "copy") }) { try disks.remove(guest: "copy") }
    #expect(web.fake.kernel { $0.devices[copy] } == nil)
    try web.house.expectSettled("at the end")
  }
}
