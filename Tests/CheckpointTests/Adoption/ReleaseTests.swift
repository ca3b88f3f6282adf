import DeviceMapper
import EpochStore
import Glibc
import Testing

@testable import Checkpoint

struct ReleaseTests {
  @Test func aReleasedVolumeHoldsTheNewestContent() throws {
    let web = try AdoptionHouse()
    try web.adopt()
    try web.take(1)
    web.write("newest")
    let release = try Release(web.house.pools, guest: "web")
    #expect(release.epochs == [1])
    #expect(release.disks.map(\.path) == ["/dev/vg0/web"])
    #expect(throws: AdoptionError.inUse(guest: "web", vdev: "xvda", path: "/dev/vg0/web")) { try release.perform() }
    try web.take(2)

    web.stop()
    #expect(try release.perform() == [1 << 20])
    #expect(web.read() == "newest")
    try web.expectPlain("after a release")
    #expect(throws: AdoptionError.notAdopted(guest: "web")) { try Release(web.house.pools, guest: "web") }
    web.start()
    try web.adopt()
  }

  @Test func aGuestOnThePoolsOwnDeviceKeepsItFromBeingReleased() throws {
    let web = try AdoptionHouse()
    try web.adopt()
    web.stop()
    web.fake.kernel { $0.devices[web.new]?.openCount = 1 }
    #expect(throws: AdoptionError.self) { try Release(web.house.pools, guest: "web").perform() }
    web.write("newest")
    #expect(try web.origin()?.state == .adopted)
  }

  @Test func aDiskThatCannotBeTakenAwayKeepsItsEpochs() throws {
    let web = try AdoptionHouse()
    try web.adopt()
    let expected = try web.take(1)
    web.write("newest")
    web.stop()
    // Somebody opens it in the very moment.
    web.fake.kernel { $0.held = web.new }
    #expect(throws: DeviceMapperError.self) { try Release(web.house.pools, guest: "web").perform() }
    #expect(web.read() == "newest")
    #expect(try web.origin()?.state == .adopted)
    try web.house.history.check(epoch: 1, expected: expected)
    try web.house.history.rollBack(to: 1)
    try web.house.history.commitRollback()
    #expect(web.read() == "before")
    web.fake.kernel { $0.held = nil }
    _ = try Release(web.house.pools, guest: "web").perform()
    #expect(web.read() == "before")
    try web.expectPlain("after a release")
  }

  @Test func aDiskWhoseVolumeWasRemovedCanBeGivenUp() throws {
    let web = try AdoptionHouse()
    try web.adopt()
    try web.take(1)
    web.stop()
    web.fake.restart(reboot: true)
    // That LVM does not answer proves nothing.
    web.fake.kernel { ($0.volumes, $0.refuseLVM) = ([:], true) }
    #expect(throws: AdoptionError.self) { try Release(web.house.pools, guest: "web").perform(discard: true) }
    #expect(try web.house.catalog().volumes.count == 1)
    web.fake.kernel { $0.refuseLVM = false }
    #expect(try web.house.pools.ensureActive("p").isEmpty)
    #expect(try web.house.catalog().volumes.isEmpty)
    #expect(web.fake.kernel { $0.contents.isEmpty })
  }

  /// Another volume has its name by now.
  @Test func aDiskWhoseVolumeWasMadeAnewCanBeGivenUp() throws {
    let web = try AdoptionHouse()
    try web.adopt()
    web.stop()
    web.fake.restart(reboot: true)
    web.fake.kernel { kernel in
      let device = FakePool.Device(uuid: "LVM-xyz", number: web.number, table: [web.plain])
      kernel.volumes["vg0/web"] = (web.old, device)
      kernel.devices[web.old] = device
      kernel.marked = ["vg0/web"]
    }
    #expect(throws: AdoptionError.self) { try Release(web.house.pools, guest: "web").perform() }
    _ = try Release(web.house.pools, guest: "web").perform(discard: true)
    #expect(try web.house.pools.ensureActive("p").isEmpty)
    #expect(try web.house.catalog().volumes.isEmpty)
    // The new one was not touched.
    #expect(web.fake.kernel { $0.marked } == ["vg0/web"])
  }

  @Test func whoLooksAtAnEpochOrWorksOnTheGuestKeepsADiskFromBeingReleased() throws {
    let web = try AdoptionHouse()
    try web.adopt()
    try web.take(1)
    web.stop()
    let release = try Release(web.house.pools, guest: "web")
    let folder = try EpochStore(path: web.house.store).folder(uuid: PoolHouse.uuid, create: true)
    defer { for name in ["/lock", ""] { _ = name.isEmpty ? rmdir(folder.path) : unlink(folder.path + name) } }
    do {
      let lock = try folder.lock(.shared)
      defer { withExtendedLifetime(lock) {} }
      #expect(throws: StoreError.self) { try release.perform() }
    }
    let snapshot = try #require(try web.house.catalog().epochs.first)
    let uuid = EpochView.uuid(.whole, of: snapshot, in: try web.house.catalog())
    try web.fake.create("ckpt-shown", uuid: uuid, table: [], readOnly: true)
    let inUse = AdoptionError.epochInUse(
      guest: "web", vdev: "xvda", device: "/dev/mapper/ckpt-shown", uuid: PoolHouse.uuid, epoch: 1)
    #expect(throws: inUse) { try release.perform() }
    #expect(try web.origin()?.state == .adopted)
    #expect(try web.house.catalog().epochs.count == 1)
    web.fake.kernel { $0.devices["ckpt-shown"] = nil }
    // Nobody exports while the guest's folder is locked: this is what a killed export left.
    let carried = EpochView.uuid(.carried, of: snapshot, in: try web.house.catalog())
    try web.fake.create("ckpt-carry-1-1", uuid: "\(carried)-1", table: [], readOnly: true)
    _ = try release.perform()
    #expect(web.fake.kernel { $0.devices["ckpt-carry-1-1"] } == nil)
  }

  @Test func whileItCopiesOthersWorkInThePoolAndNobodyReleasesTheDiskToo() throws {
    let web = try AdoptionHouse()
    try web.adopt()
    web.write("newest")
    web.stop()
    let (release, other) = (try Release(web.house.pools, guest: "web"), try Release(web.house.pools, guest: "web"))
    var copies = 0
    try release.perform(progress: { _, _ in
      copies += 1
      #expect(throws: Never.self) { _ = try Disks(web.house.pools).create(guest: "db", vdev: "xvda", size: 1 << 20) }
      // That leaves the disk alone, and finds nothing wrong.
      let faults = try? web.house.pools.ensureActive("p")
      #expect(faults?.isEmpty == true)
      #expect(web.read() == nil && web.fake.kernel { $0.devices[web.new] } == nil)
      for discard in [false, true] {
        #expect(throws: PoolError.locked(pool: "p")) { try other.perform(discard: discard) }
      }
    })
    #expect(copies == 1)
    #expect(web.read() == "newest")
    try Disks(web.house.pools).remove(guest: "db")
    try web.expectPlain("after a release")
  }

  @Test func aReleaseThatCannotEndIsSettledAndGoesOn() throws {
    let web = try AdoptionHouse()
    try web.adopt()
    web.write("newest")
    web.stop()
    let release = try Release(web.house.pools, guest: "web")
    #expect(throws: DeviceMapperError.self) {
      try release.perform(progress: { _, _ in web.fake.kernel { $0.held = "ckpt-web-xvda-newest" } })
    }
    #expect(try web.origin()?.state == .releasing)
    web.fake.kernel { $0.held = nil }
    #expect(try web.house.pools.ensureActive("p").isEmpty)
    #expect(web.read() == "newest")
    try Release(web.house.pools, guest: "web").perform()
    #expect(web.read() == "newest")
    try web.expectPlain("after another release")
  }

  /// What the catalogue says by now was not copied.
  @Test func aReleaseOfWhatBecameAnotherDiskIsNotEnded() throws {
    let web = try AdoptionHouse()
    try web.adopt()
    web.stop()
    let release = try Release(web.house.pools, guest: "web")
    #expect(throws: AdoptionError.releasing(guest: "web", vdev: "xvda")) {
      try release.perform(progress: { _, _ in
        let folder = PoolFolder(store: web.house.store, name: "p")
        guard var catalog = try? folder.load() else { return }
        guard let id = try? catalog.takeThinID() else { return }
        catalog.volumes[0].thinID = id
        try? folder.save(catalog)
      })
    }
    #expect(try web.origin()?.state == .releasing)
  }

  /// Killed at every step, with or without a boot: nothing is lost, and releasing it again succeeds.
  @Test(arguments: 1...26, [false, true])
  func aKilledReleaseGoesOn(step: Int, reboot: Bool) throws {
    let web = try AdoptionHouse()
    try web.adopt()
    try web.take(1)
    web.write("newest")
    web.stop()
    let release = try Release(web.house.pools, guest: "web")
    web.fake.kernel { ($0.changes, $0.dieAfter) = (0, step) }
    _ = try? release.perform()
    web.fake.restart(reboot: reboot)
    #expect(try web.house.pools.ensureActive("p").isEmpty)
    // What LVM does at boot with a volume that is its own again.
    if reboot { try web.fake.activate(#require(LogicalVolume("vg0/web"))) }
    if !(try web.house.catalog().volumes.isEmpty) {
      #expect(web.read() == "newest")
      _ = try Release(web.house.pools, guest: "web").perform()
    }
    #expect(web.read() == "newest")
    try web.expectPlain("after step \(step)")
  }
}
