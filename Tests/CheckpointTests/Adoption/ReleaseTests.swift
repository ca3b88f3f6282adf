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
    #expect(throws: AdoptionError.epochInUse(guest: "web", vdev: "xvda", device: "/dev/mapper/ckpt-shown")) {
      try release.perform()
    }
    #expect(try web.origin()?.state == .adopted)
    #expect(try web.house.catalog().epochs.count == 1)
    web.fake.kernel { $0.devices["ckpt-shown"] = nil }
    // Nobody exports while the guest's folder is locked: this is what a killed export left.
    let carried = EpochView.uuid(.carried, of: snapshot, in: try web.house.catalog())
    try web.fake.create("ckpt-carry-1-1", uuid: "\(carried)-1", table: [], readOnly: true)
    _ = try release.perform()
    #expect(web.fake.kernel { $0.devices["ckpt-carry-1-1"] } == nil)
  }

  /// Killed at every step, with or without a boot: nothing is lost, and releasing it again succeeds.
  @Test(arguments: 1...20, [false, true])
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
