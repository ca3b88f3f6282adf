import DeviceMapper
import Glibc
import Testing

@testable import Checkpoint

struct PoolRemovalTests {
  private func expectGone(_ house: PoolHouse, _ context: Comment) {
    #expect(house.pools.names().isEmpty, context)
    #expect(house.fake.kernel { $0.devices.isEmpty }, context)
    #expect(access("\(house.store)/pools/p", F_OK) != 0, context)
    #expect(throws: PoolError.unknown(pool: "p"), context) { try house.pools.remove("p") }
  }

  private func refusal(_ house: PoolHouse) -> String {
    do {
      try house.pools.remove("p")
      return ""
    } catch {
      return "\(error)"
    }
  }

  @Test(arguments: [false, true]) func anEmptyPoolGoesAndItsDevicesAreFree(reboot: Bool) throws {
    let house = try PoolHouse(disks: false)
    try house.pools.ensureActive("p")
    if reboot { house.fake.restart(reboot: true) }
    let isActive = try house.pools.removable("p").status != nil
    #expect(isActive != reboot)
    #expect(try house.pools.remove("p") == RemovedPool(gone: [], note: nil))
    #expect(house.fake.kernel { $0.wiped } == ["/dev/data", "/dev/meta"])
    expectGone(house, "removed")
  }

  @Test func whatIsInItStandsInTheWay() throws {
    let house = try PoolHouse()
    for epoch in 1...2 { try house.take(epoch) }
    let begin = "pool p: cannot be removed: "
    #expect(
      refusal(house) == begin + "it has disks of 2 epochs of guest web; nothing was changed; remove them first: "
        + "ckpt remove \(PoolHouse.uuid) 1 2")
    for epoch in 1...2 { try house.history.forget(epoch: epoch) }
    #expect(
      refusal(house) == begin + "it has guests' disks (xvda of web, xvdb of web); nothing was changed; "
        + "remove them first: ckpt disk remove web")
    #expect(throws: PoolError.self) { try house.pools.removable("p") }
    try house.expectSettled("with disks")
    try Disks(house.pools).remove(guest: "web")

    let number = house.fake.kernel { $0.devices["ckpt-p-pool"]?.number }
    let pool = try #require(number)
    func stand(_ device: String, _ uuid: String) {
      house.fake.kernel { kernel in
        kernel.devices[device] = FakePool.Device(
          uuid: uuid, number: DeviceNumber(major: 253, minor: 77), table: [.thin(pool: pool, id: 99, sectors: 8)])
      }
    }
    stand("ckpt-carry-1-1", "CKPT-0123456789abcdef-carry-\(PoolHouse.uuid)-3-xvda-1")
    #expect(refusal(house).contains("ckpt-carry-1-1 stands on it") && refusal(house).hasSuffix("ckpt recover"))
    house.fake.kernel { $0.devices["ckpt-carry-1-1"] = nil }
    stand("strange", "LVM-x")
    #expect(refusal(house).hasSuffix("dmsetup remove strange"))
    house.fake.kernel { kernel in
      kernel.devices["strange"] = nil
      kernel.devices["ckpt-p-pool"]?.openCount = 1
    }
    #expect(refusal(house).contains("somebody has /dev/mapper/ckpt-p-pool open"))
    house.fake.kernel { $0.devices["ckpt-p-pool"]?.openCount = 0 }
    #expect(refusal(house).isEmpty)
    expectGone(house, "emptied")
  }

  @Test func anAdoptedDiskIsReleasedFirst() throws {
    let web = try AdoptionHouse()
    try web.adopt()
    #expect(refusal(web.house).hasSuffix("remove them first: ckpt release web"))
  }

  @Test func aDiskThatADeadProcessMadeIsFoundFirst() throws {
    let house = try PoolHouse(disks: false)
    try house.pools.ensureActive("p")
    // The pool has it, the catalogue does not yet.
    house.fake.kernel { ($0.changes, $0.dieAfter) = (0, 2) }
    #expect(throws: FakePool.Died.self) {
      try Disks(house.pools).create(guest: "web", vdev: "xvda", size: 1 << 20)
    }
    house.fake.restart(reboot: false)
    #expect(try house.catalog().volumes.isEmpty)
    #expect(refusal(house).contains("it has guests' disks (xvda of web)"))
    #expect(try house.catalog().removal == nil)
  }

  @Test(arguments: [false, true]) func killedAtEveryStepItIsEndedByTheSameCommand(reboot: Bool) throws {
    var step = 1
    while true {
      let house = try PoolHouse(disks: false)
      try house.pools.ensureActive("p")
      if reboot { house.fake.restart(reboot: true) }
      house.fake.kernel { ($0.changes, $0.dieAfter) = (0, step) }
      let died = (try? house.pools.remove("p")) == nil
      house.fake.restart(reboot: reboot)
      if died, try house.catalog().removal != nil {
        // Nobody gives it a disk meanwhile.
        #expect(throws: PoolError.beingRemoved(pool: "p")) { try house.pools.ensureActive("p") }
        #expect(try house.pools.status("p").problem?.hasSuffix("ckpt pool remove p") == true)
      }
      if died { try house.pools.remove("p") }
      #expect(house.fake.kernel { $0.wiped } == ["/dev/data", "/dev/meta"], "step \(step)")
      expectGone(house, "step \(step)")
      guard died else { break }
      step += 1
    }
    #expect(step > 2)
  }

  @Test func volumesThatWereMadeForItGoAndNoOthers() throws {
    let house = try PoolHouse(disks: false)
    let backing = PoolCatalog.Backing.devices(data: "/dev/vg0/ckpt-p-data", metadata: "/dev/vg0/ckpt-p-meta")
    try PoolFolder(store: house.store, name: "p").save(PoolCatalog(name: "p", identity: "ab", backing: backing))
    // Its spare one went into the metadata.
    house.fake.kernel { $0.poolVolumes = ["vg0/ckpt-p-data", "vg0/ckpt-p-meta", "vg0/ckpt-q-spare"] }
    #expect(try house.pools.remove("p").gone == ["/dev/vg0/ckpt-p-meta", "/dev/vg0/ckpt-p-data"])
    #expect(house.fake.kernel { $0.poolVolumes } == ["vg0/ckpt-q-spare"])
    #expect(house.fake.kernel { $0.wiped.isEmpty })
    expectGone(house, "with its volumes")
  }

  @Test func aVolumeIsAPoolsByItsNameAndItsTag() {
    let output = """
        vg0 ckpt-p-data  ckpt-pool
        vg0 ckpt-p-meta  gold,ckpt-pool
        vg0 ckpt-p-spare
        vg1 ckpt-p-spare ckpt-pools
      """
    func isListed(_ volume: String) -> Bool {
      LogicalVolume(volume)?.isListed(output, tag: LogicalVolume.poolTag) == true
    }
    #expect(isListed("vg0/ckpt-p-data") && isListed("vg0/ckpt-p-meta"))
    #expect(!isListed("vg0/ckpt-p-spare") && !isListed("vg1/ckpt-p-spare") && !isListed("vg1/ckpt-p-data"))
    let mixed = PoolCatalog.Backing.devices(data: "/dev/vg0/ckpt-p-data", metadata: "/dev/sdb")
    #expect(PoolVolumes(under: PoolCatalog(name: "p", identity: "ab", backing: mixed)) == nil)
  }

  @Test func filesOfATrialGo() throws {
    let house = try PoolHouse(disks: false, inFiles: true)
    let files = ["\(house.store)/p.data", "\(house.store)/p.metadata"]
    #expect(try house.pools.remove("p").gone == files)
    #expect(files.allSatisfy { access($0, F_OK) != 0 })
    expectGone(house, "with its files")
  }

  @Test func aPoolThatCannotBeOpenedGoesAndItsDevicesAreLeft() throws {
    let house = try PoolHouse(disks: false)
    try house.pools.ensureActive("p")
    house.fake.kernel { $0.status.mode = .failed }
    let note = try house.pools.remove("p").note
    #expect(note?.contains("/dev/data and /dev/meta were left as they are") == true)
    #expect(house.fake.kernel { $0.wiped.isEmpty })
    expectGone(house, "failed")
  }

  /// As one is whose catalogue came back from an old copy of the store.
  @Test func aPoolOfWhichTheCatalogueDoesNotKnowAllStays() throws {
    let house = try PoolHouse(disks: false)
    house.fake.kernel { $0.transactionID = 3 }
    #expect(throws: PoolError.foreignTransaction(pool: "p", found: 3, expected: 0)) { try house.pools.remove("p") }
    #expect(house.pools.names() == ["p"])
    #expect(try house.catalog().removal == nil)
  }

  @Test func devicesOfAPoolAreFitForTheNextOne() throws {
    let house = try PoolHouse(disks: false, inFiles: true)
    let (data, metadata) = ("\(house.store)/p.data", "\(house.store)/p.metadata")
    func put(_ bytes: [UInt8], _ file: String, at offset: off_t) {
      let descriptor = open(file, O_WRONLY)
      let written = pwrite(descriptor, bytes, bytes.count, offset)
      close(descriptor)
      #expect(written == bytes.count)
    }
    // A guest's file system in the first block.
    put([0x53, 0xef], data, at: 0x438)
    try PoolBacking.wipe(data: data, metadata: metadata)
    #expect(try DeviceSignature.of(data) == .ext)
    put([0xba, 0x52, 0x9c, 0x01, 0, 0, 0, 0], metadata, at: 32)
    try PoolBacking.wipe(data: data, metadata: metadata)
    #expect(try DeviceSignature.of(data) == nil && DeviceSignature.of(metadata) == nil)
    try PoolBacking.wipe(data: data, metadata: "\(house.store)/gone")
  }
}
