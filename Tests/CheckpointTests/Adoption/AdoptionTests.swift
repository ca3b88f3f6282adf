import DeviceMapper
import Testing

@testable import Checkpoint

struct AdoptionTests {
  @Test func aRunningGuestsVolumeIsAdoptedUnderTheSameNumber() throws {
    let web = try AdoptionHouse()
    let adopted = try #require(try web.adopt().first)
    #expect(adopted.volume == "vg0/web" && adopted.path == "/dev/mapper/ckpt-web-xvda")
    #expect(adopted.oldPath == "/dev/vg0/web" && adopted.sizeBytes == 1 << 20)
    #expect(web.read() == "before")
    #expect(web.fake.kernel { $0.devices[web.old]?.number } == web.number)
    #expect(web.fake.kernel { $0.devices["ckpt-web-xvda-origin"]?.readOnly } == true)
    #expect(web.fake.kernel { $0.marked } == ["vg0/web"])

    web.write("after")
    #expect(web.read() == "after")
    // The old data stay as they are.
    #expect(web.fake.content(of: "ckpt-web-xvda-origin") == "before")
    #expect(try web.origin()?.state == .adopted && web.origin()?.sample != nil)
    try web.house.expectSettled("after an adoption")
    #expect(try web.adopt().isEmpty)
  }

  @Test func epochsOfAnAdoptedDiskAreAsAnyOthers() throws {
    let web = try AdoptionHouse()
    try web.adopt()
    var expected = [1: try web.take(1)]
    web.write("second")
    expected[2] = try web.take(2)
    web.write("third")
    web.stop()
    for (epoch, content) in [(1, "before"), (2, "second"), (1, "before")] {
      try web.house.history.check(epoch: epoch, expected: #require(expected[epoch]))
      try web.house.history.rollBack(to: epoch)
      try web.house.history.commitRollback()
      #expect(web.read() == content)
      #expect(web.fake.kernel { $0.devices[web.old]?.number } == web.number)
    }
    try web.house.history.forgetUnpublished(published: [2], used: 2)
    #expect(try web.house.history.epochs() == [2])
    try web.house.expectSettled("after forgetting")
  }

  @Test func whatCannotBeAdoptedIsRefusedBeforeAnythingIsTouched() throws {
    let web = try AdoptionHouse()
    func refusal(_ disk: GuestDisk) throws -> AdoptionError.Obstacle? {
      let error = #expect(throws: AdoptionError.self) { try web.adopt([web.disk, disk]) }
      try web.expectPlain("a refused adoption")
      guard case .notAdoptable(_, "xvdb", _, let obstacle)? = error else { return nil }
      return obstacle
    }
    func disk(_ major: UInt32, _ minor: UInt32) -> GuestDisk {
      GuestDisk(vdev: "xvdb", number: DeviceNumber(major: major, minor: minor), path: "/x", readOnly: false)
    }
    #expect(try refusal(disk(0, 0)) == .noBlockBackend)
    #expect(try refusal(disk(7, 3)) == .loopFile)
    #expect(try refusal(disk(8, 1)) == .noMapping)
    web.fake.kernel { $0.devices["crypt"] = .init(uuid: "CRYPT-x", number: disk(252, 9).number, table: []) }
    web.fake.kernel { $0.volumes = [:] }
    let error = #expect(throws: AdoptionError.self) { try web.adopt([disk(252, 9)]) }
    #expect(error == .notAdoptable(guest: "web", vdev: "xvdb", path: "/x", .notLVM(uuid: "CRYPT-x")))
    web.fake.kernel { $0.devices["crypt"] = nil }

    let raid = Target(sectors: 2048, type: "raid", parameters: "raid1 3 0 region_size 1024 2 8:1 8:2 8:3 8:4")
    web.fake.kernel { $0.devices[web.old]?.table = [raid] }
    #expect(throws: AdoptionError.notAdoptable(guest: "web", vdev: "xvda", path: "/dev/vg0/web", .kind("raid"))) {
      try web.adopt()
    }
    web.fake.kernel { $0.devices[web.old]?.table = [web.plain] }
    web.fake.kernel { $0.devices[web.old]?.openCount = 2 }
    #expect(throws: AdoptionError.notAdoptable(guest: "web", vdev: "xvda", path: "/dev/vg0/web", .shared(openers: 2))) {
      try web.adopt()
    }
    web.fake.kernel { $0.devices[web.old]?.openCount = 1 }
    web.fake.kernel { $0.sectorBytes["ckpt-p-pool"] = 4096 }
    let sectors = AdoptionError.Obstacle.sectors(bytes: 512, ofPool: 4096)
    #expect(throws: AdoptionError.notAdoptable(guest: "web", vdev: "xvda", path: "/dev/vg0/web", sectors)) {
      try web.adopt()
    }
    #expect(throws: AdoptionError.noSuchDisk(guest: "web", vdev: "xvdz", known: ["xvda"])) {
      try web.adopt(named: ["xvdz"])
    }
    try web.expectPlain("refused adoptions")
  }

  /// They are whole: over an origin, what they have no block for would read as the old volume.
  @Test func aDiskIsNotAdoptedUnderTheNameOfImportedEpochs() throws {
    let web = try AdoptionHouse()
    try web.house.pools.ensureActive("p")
    let folder = PoolFolder(store: web.house.store, name: "p")
    let plain = try folder.load()
    var catalog = plain
    for epoch in [9, 7] {
      catalog.epochs.append(
        PoolCatalog.Snapshot(
          guestUUID: PoolHouse.uuid, epoch: epoch, vdev: "xvda", thinID: try catalog.takeThinID(), sizeSectors: 2048,
          device: "ckpt-web-xvda"))
    }
    try folder.save(catalog)
    let imported = AdoptionError.Obstacle.imported(uuid: PoolHouse.uuid, epochs: [9, 7])
    let refused = AdoptionError.notAdoptable(guest: "web", vdev: "xvda", path: "/dev/vg0/web", imported)
    #expect(refused.description.contains("ckpt remove \(PoolHouse.uuid) 7 9;"))
    #expect(throws: refused) { try web.adopt() }
    try folder.save(plain)
    try web.expectPlain("a refused adoption")
  }

  @Test func whatWasAdoptedBeforeAnotherDiskFailsIsTold() throws {
    let web = try AdoptionHouse()
    let data = web.addData()
    var told: [String] = []
    #expect(throws: (any Error).self) {
      try web.house.pools.adopt(guest: "web", disks: [web.disk, data]) { disk in
        told.append(disk.vdev)
        web.fake.kernel { $0.refuseLVM = true }
      }
    }
    #expect(told == ["xvda"])
    web.fake.kernel { $0.refuseLVM = false }
    try web.house.pools.ensureActive("p")
    #expect(try web.house.catalog().volumes.map(\.vdev) == ["xvda"])
    #expect(try web.house.pools.adopt(guest: "web", disks: [web.disk, data]).map(\.vdev) == ["xvdb"])
    // And back, as far as it goes.
    web.stop()
    web.fake.kernel { $0.devices["vg0-web--data"]?.openCount = 0 }
    var released: [String] = []
    #expect(throws: (any Error).self) {
      try Release(web.house.pools, guest: "web").perform(released: { disk, _ in
        released.append(disk.vdev)
        web.fake.kernel { $0.refuseLVM = true }
      })
    }
    #expect(released == ["xvda"])
  }

  @Test func aDiskOfARunningGuestDoesNotBecomeAPool() throws {
    let web = try AdoptionHouse()
    let metadata = DeviceNumber(major: 8, minor: 16)
    func check(_ domains: (DeviceNumber) -> [UInt32] = { _ in [] }) throws {
      let attached = AttachedBacking(
        data: web.number, metadata: metadata, dataSectors: 1 << 20, metadataIsFormatted: false)
      try PoolBacking.checkUsers(
        .devices(data: "/dev/vg0/web", metadata: "/dev/sdb"), attached, web.fake, patience: 0, domains: domains)
    }
    let error = PoolError.unusable(device: "/dev/vg0/web", why: "it is in use: somebody has it open")
    #expect(throws: error) { try check() }
    web.stop()
    try check()
    // One that is no device-mapper device.
    #expect(throws: PoolError.unusable(device: "/dev/sdb", why: "it is in use: a disk of domain 7")) {
      try check { $0 == metadata ? [7] : [] }
    }
  }

  @Test func whenLVMRefusesTheGuestGoesOnAsBefore() throws {
    let web = try AdoptionHouse()
    web.fake.kernel { $0.refuseLVM = true }
    #expect(throws: AdoptionError.self) { try web.adopt() }
    #expect(web.read() == "before")
    web.fake.kernel { $0.refuseLVM = false }
    try web.house.pools.ensureActive("p")
    try web.expectPlain("after LVM's refusal")
    try web.adopt()
  }

  /// Killed at every step: the guest's device runs, shows the newest content, and a second try succeeds.
  @Test(arguments: 1...14, [false, true])
  func aKilledAdoptionIsEndedOrTakenBack(step: Int, after: Bool) throws {
    let web = try AdoptionHouse()
    web.fake.kernel { kernel in
      kernel.changes = 0
      if after { kernel.dieAfter = step } else { kernel.dieBefore = step }
    }
    let outcome = Result { try web.adopt() }
    web.fake.restart(reboot: false)
    // The first act after a crash: whatever was held runs again.
    try web.house.pools.resumeSuspended()
    #expect(web.fake.kernel { $0.devices[web.old]?.suspended } == false)
    #expect(web.read() == "before")
    web.write("newer")
    try web.house.pools.ensureActive("p")
    #expect(web.read() == "newer")
    if case .failure = outcome { try web.adopt() }
    #expect(web.read() == "newer")
    #expect(try web.origin()?.state == .adopted)
    try web.house.expectSettled("after step \(step)")
  }
}
