import DeviceMapper
import EpochStore
import Glibc
import Synchronization
import Testing

@testable import Checkpoint

struct GuestDisksTests {
  @Test func anEpochHoldsEveryDiskAsItWas() throws {
    let house = try PoolHouse()
    let disks = try house.guestDisks()
    #expect(disks.disks.map(\.thinID) == [nil, nil])
    try disks.reserve(epoch: 1)
    #expect(try disks.snapshot().keys.sorted() == ["create_snap", "resume", "suspend"])
    try disks.commit()
    for device in house.devices { house.fake.write("second", to: device) }

    #expect(try house.content(ofEpoch: 1) == ["xvda": "first", "xvdb": "first"])
    let entry = try #require(disks.disks.first)
    #expect(entry.vdev == "xvda" && entry.pool == "p" && entry.sizeBytes == 1 << 20)
    #expect(entry.device == "/dev/mapper/ckpt-web-xvda")
    #expect(entry.thinID == (try house.catalog().snapshots(PoolHouse.uuid, 1).first?.thinID))
    try house.expectSettled("after a take")
  }

  /// `/dev/mapper/ckpt-web-xvda,sda,w`: nobody but the volume's maker needs its name.
  @Test func anEpochCallsADiskWhatTheGuestCallsIt() throws {
    let house = try PoolHouse()
    let number = try #require(house.fake.kernel { $0.devices["ckpt-web-xvda"]?.number })
    let disk = GuestDisk(vdev: "sda", number: number, path: "/dev/mapper/ckpt-web-xvda", readOnly: false)
    let disks = try GuestDisks(pools: house.pools, guest: "web", guestUUID: PoolHouse.uuid, disks: [disk])
    try disks.reserve(epoch: 1)
    _ = try disks.snapshot()
    try disks.commit()
    #expect(try house.content(ofEpoch: 1) == ["sda": "first"])
    try house.history.check(epoch: 1, expected: disks.disks)
    #expect(try house.history.holds(#require(disks.disks.first), of: 1))
    house.fake.write("second", to: "ckpt-web-xvda")
    try house.history.rollBack(to: 1)
    #expect(house.fake.content(of: "ckpt-web-xvda") == "first")
    let paths = try Disks(house.pools).clone("copy", ofGuest: PoolHouse.uuid, epoch: 1)
    #expect(paths == ["sda": "/dev/mapper/ckpt-copy-sda"])
  }

  @Test func aDiskForWhichImportedEpochsWaitIsNotMadeAnew() throws {
    let house = try PoolHouse()
    let folder = PoolFolder(store: house.store, name: "p")
    var catalog = try folder.load()
    catalog.epochs.append(
      PoolCatalog.Snapshot(
        guestUUID: "u", epoch: 7, vdev: "xvda", thinID: try catalog.takeThinID(), sizeSectors: 2048,
        device: "ckpt-db-xvda"))
    try folder.save(catalog)
    let refused = DiskError.badName(
      "db", why: "epochs of another guest are restored to ckpt-db-xvda; call this one otherwise")
    #expect(throws: refused) { try Disks(house.pools).create(guest: "db", vdev: "xvda", size: 1 << 20) }
    _ = try Disks(house.pools).create(guest: "db", vdev: "xvdb", size: 1 << 20)
  }

  @Test func aRefusedSnapshotLeavesDevicesRunningAndNothingBehind() throws {
    let house = try PoolHouse()
    house.fake.kernel { $0.refuseSnapshots = true }
    let disks = try house.guestDisks()
    try disks.reserve(epoch: 1)
    #expect(throws: DeviceMapperError.self) { try disks.snapshot() }
    #expect(house.fake.kernel { $0.devices.values.allSatisfy { !$0.suspended } })
    try disks.abandon()
    try house.expectSettled("after a refused snapshot")
    #expect(try house.history.epochs() == [])

    house.fake.kernel { $0.refuseSnapshots = false }
    try house.take(1)
    #expect(try house.history.epochs() == [1])
  }

  @Test func aTakeThatFailsAfterItsCommitIsAbandoned() throws {
    let house = try PoolHouse()
    try house.take(1)
    let disks = try house.guestDisks()
    try disks.reserve(epoch: 2)
    _ = try disks.snapshot()
    try disks.commit()
    try disks.abandon()
    #expect(try house.history.epochs() == [1])
    try house.expectSettled("abandoned after commit")
  }

  @Test func onlyPublishedEpochsAreKept() throws {
    let house = try PoolHouse()
    for epoch in 1...3 { try house.take(epoch) }
    try house.history.forgetUnpublished(published: [1, 3], used: 3)
    #expect(try house.history.epochs() == [1, 3])
    try house.expectSettled("after forgetting")
  }

  @Test func aForeignWritableDiskIsRefusedAndAReadOnlyOneLeftAlone() throws {
    let house = try PoolHouse()
    let foreign = GuestDisk(
      vdev: "xvdc", number: DeviceNumber(major: 8, minor: 1), path: "/dev/vg/web", readOnly: false)
    let error = #expect(throws: DiskError.self) {
      try GuestDisks(pools: house.pools, guest: "web", guestUUID: PoolHouse.uuid, disks: [foreign])
    }
    #expect(error?.description.contains("ckpt disk create web xvdc --from /dev/vg/web") == true)

    var cdrom = foreign
    cdrom.readOnly = true
    let disks = try GuestDisks(pools: house.pools, guest: "web", guestUUID: PoolHouse.uuid, disks: [cdrom])
    try disks.reserve(epoch: 1)
    _ = try disks.snapshot()
    try disks.commit()
    #expect(disks.disks.map(\.thinID) == [nil])
  }

  @Test func aTableThatIsNotTheCataloguesIsRefused() throws {
    let house = try PoolHouse()
    let pool = DeviceNumber(major: 253, minor: 0)
    house.fake.kernel { $0.devices["ckpt-web-xvda"]?.table = [.thin(pool: pool, id: 99, sectors: 2048)] }
    #expect(throws: DiskError.self) { try house.guestDisks() }
  }

  @Test func theReserveIsKept() throws {
    let house = try PoolHouse()
    let disks = try house.guestDisks()
    // 4 GiB of data ask for 81.92 MiB: 1311 blocks.
    house.fake.kernel { $0.status.usedDataBlocks = 65536 - 1310 }
    let error = #expect(throws: PoolError.self) { try disks.reserve(epoch: 1) }
    guard case .nearlyFull(_, "data", let have, let need, _) = try #require(error) else {
      Issue.record("\(error!)")
      return
    }
    #expect(have == 1310 * 65536 && need == (4 << 30) / 50)
    try house.expectSettled("after a refused reserve")
    house.fake.kernel { $0.status.usedDataBlocks = 65536 - 1311 }
    try disks.reserve(epoch: 1)
    try disks.abandon()

    house.fake.kernel { $0.status.usedMetadataBlocks = 16384 - 819 }
    #expect(throws: PoolError.self) { try disks.reserve(epoch: 1) }
  }

  @Test(arguments: [
    (PoolStatus.Mode.readOnly, false), (.outOfDataSpace, false), (.failed, true), (.readWrite, true),
  ])
  func anUnhealthyPoolTakesNoEpoch(mode: PoolStatus.Mode, needsCheck: Bool) throws {
    let house = try PoolHouse()
    let disks = try house.guestDisks()
    house.fake.kernel { ($0.status.mode, $0.status.needsCheck) = (mode, needsCheck) }
    let error = #expect(throws: PoolError.self) { try disks.reserve(epoch: 1) }
    guard case .unhealthy = try #require(error) else {
      Issue.record("\(error!)")
      return
    }
  }

  @Test func forgettingInAReadOnlyPoolSaysThatNothingBecameFreeAndHappensLater() throws {
    let house = try PoolHouse()
    try house.take(1)
    house.fake.kernel { $0.status.mode = .readOnly }
    #expect(throws: PoolError.self) { try house.history.forget(epoch: 1) }
    #expect(try house.history.epochs() == [])
    house.fake.kernel { $0.status.mode = .readWrite }
    try house.pools.ensureActive("p")
    try house.expectSettled("after the repair")
  }

  @Test func whoWaitsForAPoolIsAskedMeanwhile() throws {
    struct Stop: Error {}
    let house = try PoolHouse()
    let disks = try house.guestDisks()
    try disks.reserve(epoch: 1)
    let asked = Atomic(0)
    let patient = house.pools.waiting(seconds: 60) {
      if asked.wrappingAdd(1, ordering: .relaxed).oldValue == 2 { throw Stop() }
    }
    #expect(throws: Stop.self) { _ = try patient.open("p") }
    try disks.abandon()
    #expect(throws: Never.self) { _ = try patient.open("p") }
  }

  @Test func aTakeWithoutTimeWaitsForNoPool() throws {
    let house = try PoolHouse()
    let disks = try house.guestDisks()
    try disks.reserve(epoch: 1)
    let cancellation = TakeCancellation()
    let time = TakeTime(guest: "web", seconds: 0, began: .now, cancellation: cancellation)
    let patient = house.pools.waiting(seconds: 60) { try time.check() }
    #expect(throws: CheckpointError.timedOut(guest: "web", seconds: 0)) { _ = try patient.open("p") }
    cancellation.cancel()
    #expect(throws: CheckpointError.interrupted) { _ = try patient.open("p") }
    try disks.abandon()
  }

  @Test func aPoolInUseIsLocked() throws {
    let house = try PoolHouse()
    let disks = try house.guestDisks()
    try disks.check(epoch: 1)
    try house.guestDisks().check(epoch: 1)
    try disks.reserve(epoch: 1)
    #expect(throws: PoolError.locked(pool: "p")) { try house.guestDisks().check(epoch: 1) }
    #expect(throws: PoolError.locked(pool: "p")) { try house.guestDisks().reserve(epoch: 1) }
    try disks.abandon()
    try house.take(1)
  }

  @Test func anEpochIsNotTakenTwice() throws {
    let house = try PoolHouse()
    try house.take(1)
    #expect(throws: DiskError.self) { try house.take(1) }
    #expect(try house.content(ofEpoch: 1).count == 2)
    try house.expectSettled("after a double take")
  }
}
