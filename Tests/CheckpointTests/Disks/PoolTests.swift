import DeviceMapper
import EpochStore
import Glibc
import Testing
import Xen

@testable import Checkpoint

struct PoolTests {
  @Test func theCatalogueComesBackAsWritten() throws {
    let house = try PoolHouse()
    let volume = PoolCatalog.Volume(
      guest: "Web.1", vdev: "xvda", thinID: 3, sizeSectors: 2048, device: "ckpt-web-1-xvda")
    let snapshot = PoolCatalog.Snapshot(
      guestUUID: PoolHouse.uuid, epoch: 7, vdev: "xvda", thinID: 4, sizeSectors: 2048,
      device: "ckpt-web-1-xvda")
    let swap = PoolCatalog.Swap(guestUUID: PoolHouse.uuid, device: "ckpt-web-1-xvda", old: 3, new: 5)
    let changes: [PoolCatalog.Intent.Change] = [
      .createVolume(volume: volume), .takeEpoch(snapshots: [snapshot]), .rollBack(swaps: [swap]),
      .undoRollback(swaps: [swap]),
    ]
    let folder = PoolFolder(store: house.store, name: "p")
    for change in changes {
      var catalog = PoolCatalog(
        name: "p", identity: "ab", backing: .files(data: "/x/p.data", metadata: "/x/p.metadata"))
      catalog.transactionID = 41
      catalog.nextThinID = 9
      catalog.volumes = [volume]
      catalog.epochs = [snapshot]
      catalog.superseded = [.init(guestUUID: PoolHouse.uuid, device: volume.device, thinID: 2)]
      catalog.doomed = [1]
      catalog.intent = .init(from: 41, change: change)
      try folder.save(catalog)
      #expect(try folder.load() == catalog)
    }
    var status = stat()
    #expect(stat("\(folder.path)/catalog.json", &status) == 0)
    #expect(status.st_mode & 0o777 == 0o600)
  }

  @Test(arguments: ["", "{}", "[]", "{\"format\": 1"])
  func aDamagedCatalogueIsNamed(text: String) throws {
    let house = try PoolHouse(disks: false)
    try DurableFile.replace("\(house.store)/pools/p/catalog.json", with: Array(text.utf8))
    let error = #expect(throws: PoolError.self) { try house.pools.ensureActive("p") }
    #expect(error?.description.contains("catalog.json: damaged") == true)
  }

  /// What would delete a guest's disk, or an epoch's, is not acted by.
  @Test func aCatalogueThatCannotBeIsDamaged() throws {
    let house = try PoolHouse()
    let folder = PoolFolder(store: house.store, name: "p")
    let good = try folder.load()
    let nonsense: [(inout PoolCatalog) -> Void] = [
      { $0.nextThinID = 2 }, { $0.blockSectors = 0 }, { $0.blockSectors = 129 }, { $0.doomed = [1] },
      { $0.volumes[1].thinID = $0.volumes[0].thinID }, { $0.doomed = [$0.nextThinID] },
    ]
    for change in nonsense {
      var bad = good
      change(&bad)
      try folder.save(bad)
      #expect(throws: PoolError.self) { try folder.load() }
    }
    try folder.save(good)
    #expect(try folder.load() == good)
  }

  @Test func aFileThatCannotHaveItsSizeDoesNotStay() throws {
    let house = try PoolHouse(disks: false)
    let folder = house.store + "/files"
    defer { rmdir(folder) }
    #expect(throws: PoolError.io(operation: "size", path: "\(folder)/q.data", errno: EFBIG)) {
      try PoolBacking.makeFiles("q", in: folder, size: .max)
    }
    #expect(access("\(folder)/q.data", F_OK) != 0)
    // What somebody else put there is left alone.
    try DurableFile.replace("\(folder)/q.metadata", with: [1])
    defer { unlink("\(folder)/q.metadata") }
    #expect(throws: PoolError.io(operation: "create", path: "\(folder)/q.metadata", errno: EEXIST)) {
      try PoolBacking.makeFiles("q", in: folder, size: 1 << 30)
    }
    #expect(access("\(folder)/q.data", F_OK) != 0 && access("\(folder)/q.metadata", F_OK) == 0)
  }

  @Test func aForeignTransactionIsRefusedAndNothingTouched() throws {
    let house = try PoolHouse()
    house.fake.kernel { $0.transactionID += 3 }
    let before = house.fake.kernel { ($0.contents, $0.transactionID) }
    let error = #expect(throws: PoolError.self) { try house.take(1) }
    #expect(error == .foreignTransaction(pool: "p", found: before.1, expected: before.1 - 3))
    #expect(house.fake.kernel { $0.contents } == before.0)
  }

  @Test func aDeviceOfAnotherStoreIsNotTouched() throws {
    let house = try PoolHouse()
    house.fake.kernel { $0.devices["ckpt-p-pool"]?.uuid = "CKPT-other-pool" }
    #expect(throws: PoolError.self) { try house.take(1) }
    house.fake.kernel { $0.devices = [:] }
    try house.pools.ensureActive("p")
    house.fake.kernel { $0.devices["ckpt-web-xvda"]?.uuid = "LVM-x" }
    #expect(try house.pools.ensureActive("p").count == 1)
    #expect(house.fake.kernel { $0.devices["ckpt-web-xvda"]?.uuid } == "LVM-x")
  }

  @Test func emptyMetadataIsNotFormattedUnderAnOldPool() throws {
    let house = try PoolHouse()
    house.fake.kernel { ($0.devices, $0.formatted) = ([:], false) }
    #expect(throws: PoolError.self) { try house.pools.ensureActive("p") }
    #expect(house.fake.kernel { $0.devices.isEmpty })
  }

  @Test func suspendedDevicesOfOursRunAgain() throws {
    let house = try PoolHouse()
    house.fake.kernel { kernel in
      for device in kernel.devices.keys { kernel.devices[device]?.suspended = true }
      kernel.devices["ckpt-web-xvda"]?.inactive = true
      kernel.devices["ckpt-strange"] = .init(
        uuid: "LVM-x", number: .init(major: 253, minor: 77), table: [], suspended: true)
    }
    #expect(Set(try house.pools.resumeSuspended()) == ["ckpt-p-pool", "ckpt-web-xvda", "ckpt-web-xvdb"])
    #expect(house.fake.kernel { $0.devices["ckpt-strange"]?.suspended } == true)
    try house.expectSettled("after resuming")
  }

  @Test func aDeviceThatCannotBeResumedKeepsNoOther() throws {
    let house = try PoolHouse()
    house.fake.kernel { kernel in
      for device in kernel.devices.keys { kernel.devices[device]?.suspended = true }
      kernel.stuck = "ckpt-web-xvda"
    }
    #expect(throws: DeviceMapperError.self) { try house.pools.resumeSuspended() }
    #expect(house.fake.kernel { kernel in kernel.devices.filter(\.value.suspended).map(\.key) } == ["ckpt-web-xvda"])
  }

  @Test func devicesOfAPoolThatSomebodyHasAreLeftToHim() throws {
    let house = try PoolHouse()
    let other = PoolFolder(store: house.store, name: "q")
    try other.make()
    try other.save(
      PoolCatalog(name: "q", identity: "fedcba9876543210", backing: .devices(data: "/dev/d", metadata: "/dev/m")))
    house.fake.kernel { kernel in
      kernel.devices["ckpt-q-pool"] = .init(
        uuid: "CKPT-fedcba9876543210-pool", number: .init(major: 253, minor: 78), table: [])
      for device in kernel.devices.keys { kernel.devices[device]?.suspended = true }
    }
    let lock = try PoolFolder(store: house.store, name: "p").lock(wait: 0)
    #expect(try house.pools.resumeSuspended() == ["ckpt-q-pool"])
    let suspended = house.fake.kernel { kernel in Set(kernel.devices.filter(\.value.suspended).map(\.key)) }
    #expect(suspended == ["ckpt-p-pool", "ckpt-web-xvda", "ckpt-web-xvdb"])
    withExtendedLifetime(lock) {}
    try other.remove()
  }

  /// As on a file system that became read-only: nobody is known to have the pool.
  @Test func aLockThatCannotBeOpenedKeepsNoDevice() throws {
    let house = try PoolHouse()
    house.fake.kernel { kernel in
      for device in kernel.devices.keys { kernel.devices[device]?.suspended = true }
    }
    let lock = "\(house.store)/pools/p/lock"
    unlink(lock)
    mkdir(lock, 0o700)
    #expect(throws: PoolError.io(operation: "open", path: lock, errno: EISDIR)) { try house.pools.resumeSuspended() }
    rmdir(lock)
    try house.expectSettled("after resuming")
    #expect(house.fake.kernel { $0.devices["ckpt-p-pool"]?.suspended } == false)
  }

  @Test func idsEndBeforeThePoolsClockWraps() throws {
    let house = try PoolHouse()
    let folder = PoolFolder(store: house.store, name: "p")
    var catalog = try folder.load()
    catalog.nextThinID = PoolCatalog.lastThinID
    try folder.save(catalog)
    #expect(throws: PoolError.exhausted(pool: "p")) { try house.take(1) }
    // Before the guest's memory is copied.
    #expect(throws: PoolError.exhausted(pool: "p")) { try house.guestDisks().check(epoch: 1) }
    try house.expectSettled("after the last id")
    #expect(try house.pools.status("p").problem == nil)
    catalog.nextThinID += 1
    try folder.save(catalog)
    #expect(try house.pools.status("p").problem?.contains("its thin ids are used up") == true)
  }

  /// The guest is not destroyed for a restore that cannot be.
  @Test func withoutIdsNothingIsTurnedBack() throws {
    let house = try PoolHouse()
    try house.take(1)
    for device in house.devices { house.fake.write("second", to: device) }
    let expected = try house.catalog().snapshots(PoolHouse.uuid, 1).map {
      DiskEpoch(vdev: $0.vdev, pool: "p", thinID: $0.thinID, sizeBytes: 1 << 20, device: "", readOnly: false)
    }
    let (disks, exhausted) = (Disks(house.pools), PoolError.exhausted(pool: "p"))
    try leave(1, in: house)
    #expect(throws: exhausted) { try house.history.check(epoch: 1, expected: expected) }
    #expect(throws: exhausted) { try house.history.checkRollback(to: 1, users: .nobody) }
    #expect(throws: exhausted) { try house.history.rollBack(to: 1) }
    #expect(throws: exhausted) { try disks.checkClone("copy", ofGuest: PoolHouse.uuid, epoch: 1, expected: expected) }
    #expect(throws: exhausted) { try disks.clone("copy", ofGuest: PoolHouse.uuid, epoch: 1) }
    #expect(house.devices.map { house.fake.content(of: $0) } == ["second", "second"])
    try house.expectSettled("with one id left")

    try leave(2, in: house)
    try house.history.check(epoch: 1, expected: expected)
    // It takes ids, and gives none back.
    try house.history.checkRollback(to: 1, users: .nobody)
    try leave(2, in: house)
    try house.history.rollBack(to: 1)
    #expect(house.devices.map { house.fake.content(of: $0) } == ["first", "first"])
  }

  /// A disk that must be made first takes two.
  @Test func withoutIdsNoMissingDiskIsMade() throws {
    let house = try PoolHouse()
    try house.take(1)
    let folder = PoolFolder(store: house.store, name: "p")
    var catalog = try folder.load()
    catalog.volumes.removeLast()
    try folder.save(catalog)
    house.fake.kernel { $0.devices["ckpt-web-xvdb"] = nil }
    try leave(2, in: house)
    #expect(throws: PoolError.exhausted(pool: "p")) { try house.history.checkRollback(to: 1, users: .nobody) }
    try leave(3, in: house)
    try house.history.checkRollback(to: 1, users: .nobody)
    // That disk is there by now.
    try leave(2, in: house)
    try house.history.rollBack(to: 1)
    #expect(house.devices.map { house.fake.content(of: $0) } == ["first", "first"])
  }

  /// When the guest is destroyed none is asked for.
  @Test func aRollbackEndsWithTheLastIDs() throws {
    let house = try PoolHouse()
    try house.take(1)
    for device in house.devices { house.fake.write("second", to: device) }
    try leave(2, in: house)
    let begun = try house.history.beginRollback(to: 1, users: .nobody)
    #expect(try house.catalog().nextThinID == PoolCatalog.lastThinID + 1)
    var done = DiskHistory.RolledBack()
    try begun.finish(&done, users: .nobody)
    #expect(house.devices.map { house.fake.content(of: $0) } == ["first", "first"])
    try house.history.commitRollback()
    try house.expectSettled("with the last ids")
  }

  private func leave(_ ids: UInt32, in house: PoolHouse) throws {
    let folder = PoolFolder(store: house.store, name: "p")
    var catalog = try folder.load()
    catalog.nextThinID = PoolCatalog.lastThinID + 1 - ids
    try folder.save(catalog)
  }

  @Test(arguments: [
    ("web", "xvda", "ckpt-web-xvda"), ("Web_1.example", "sdb2", "ckpt-web-1-example-sdb2"),
    ("9p", "hdaa", "ckpt-9p-hdaa"),
  ])
  func deviceNames(guest: String, vdev: String, name: String) throws {
    #expect(try Disks.deviceName(guest: guest, vdev: vdev) == name)
  }

  @Test(arguments: [
    ("", "xvda"), ("-web", "xvda"), ("é", "xvda"), ("web", ""), ("web", "xvd"), ("web", "xvd1"),
    ("web", "xvda/../x"),
    ("web", "pool"), ("web", "xvda1234"), ("web", "vda"), ("web", "xvdA"),
  ])
  func badDeviceNames(guest: String, vdev: String) {
    #expect(throws: DiskError.self) { try Disks.deviceName(guest: guest, vdev: vdev) }
  }

  @Test func aDiskIsRoundedUpToTheBlockAndNotMadeTwice() throws {
    let house = try PoolHouse()
    #expect(
      try Disks(house.pools).create(guest: "db", vdev: "xvda", size: 65537) == "/dev/mapper/ckpt-db-xvda")
    let disk = try #require(try Disks(house.pools).list().last)
    #expect(disk.sizeBytes == 131072 && disk.pool == "p" && disk.guest == "db")
    #expect(throws: DiskError.exists(device: "ckpt-db-xvda")) {
      try Disks(house.pools).create(guest: "DB", vdev: "xvda", size: 1)
    }
    #expect(throws: PoolError.unknown(pool: "q")) {
      try Disks(house.pools).create(guest: "db", vdev: "xvdb", size: 1, pool: "q")
    }
  }

  @Test func rollbackGoesBackAndForthAndIsThenFinal() throws {
    let house = try PoolHouse()
    try house.take(1)
    house.fake.write("second", to: "ckpt-web-xvda")
    let number = house.fake.kernel { $0.devices["ckpt-web-xvda"]?.number }
    var done = try house.history.rollBack(to: 1)
    #expect(house.fake.content(of: "ckpt-web-xvda") == "first")
    house.fake.write("branch", to: "ckpt-web-xvda")
    #expect(try house.content(ofEpoch: 1)["xvda"] == "first")
    #expect(try house.history.undo(done))
    #expect(house.fake.content(of: "ckpt-web-xvda") == "second")
    #expect(try !house.history.undo(done))

    done = try house.history.rollBack(to: 1)
    try house.history.commitRollback()
    #expect(try !house.history.undo(done))
    #expect(house.fake.content(of: "ckpt-web-xvda") == "first")
    #expect(house.fake.kernel { $0.devices["ckpt-web-xvda"]?.number } == number)
    try house.expectSettled("after rollbacks")
    #expect(throws: DiskError.noSuchEpoch(guest: PoolHouse.uuid, epoch: 2)) {
      try house.history.rollBack(to: 2)
    }
  }

  @Test func aPoolThatCouldNotWriteItsMetadataHasNoNewEpoch() throws {
    let house = try PoolHouse()
    try house.take(1)
    house.fake.kernel { $0.losesCommits = true }
    #expect(throws: PoolError.self) { try house.take(2) }
    #expect(try house.history.epochs() == [1])
    house.fake.kernel { ($0.losesCommits, $0.status.mode) = (false, .readWrite) }
    try house.take(2)
    #expect(try house.history.epochs() == [1, 2])
    try house.expectSettled("after the repair")
  }

  /// A restore died after its rollback, the guest was started on what that brought, and worked for weeks.
  @Test func whatADeadRestoreLeftIsNeverGoneBackTo() throws {
    let house = try PoolHouse()
    try house.take(1)
    for device in house.devices { house.fake.write("second", to: device) }
    try house.history.rollBack(to: 1)
    for device in house.devices { house.fake.write("weeks", to: device) }
    house.fake.kernel { $0.refuseSnapshots = true }
    #expect(throws: DeviceMapperError.self) { try house.history.rollBack(to: 1) }
    #expect(house.devices.map { house.fake.content(of: $0) } == ["weeks", "weeks"])
    house.fake.kernel { $0.refuseSnapshots = false }
    let done = try house.history.rollBack(to: 1)
    #expect(try house.history.undo(done))
    #expect(house.devices.map { house.fake.content(of: $0) } == ["weeks", "weeks"])
    try house.history.rollBack(to: 1)
    try house.history.commitRollback()
    try house.expectSettled("after the next restore")
    #expect(try house.catalog().superseded.isEmpty)
  }

  @Test func aDiskThatSomebodyHasOpenIsNotRolledBack() throws {
    let house = try PoolHouse()
    try house.take(1)
    for device in house.devices { house.fake.write("second", to: device) }
    house.fake.kernel { $0.devices["ckpt-web-xvdb"]?.openCount = 1 }
    let why = "it is in use; unmount it, or detach it from the guest that has it"
    let error = DiskError.cannotRollBack(device: "ckpt-web-xvdb", why: why)
    #expect(throws: error) { try house.history.checkRollback(to: 1, users: .nobody) }
    let numbers = house.devices.map { device in house.fake.kernel { $0.devices[device]?.number } }
    let disks = numbers.map { number in
      let device = number.map { Xen.DeviceNumber(major: $0.major, minor: $0.minor) }
      return Xen.GuestDisk(vdev: "xvd", path: "", device: device, isReadOnly: false)
    }
    let guest = DiskUsers.guest(with: disks)
    try house.history.checkRollback(to: 1, users: guest)
    // It was detached from the guest, and another has it now.
    let without = DiskUsers.guest(with: [disks[0]])
    for users in [without, without.afterItsEnd] {
      #expect(throws: error) { try house.history.checkRollback(to: 1, users: users) }
    }
    house.fake.kernel { $0.devices["ckpt-web-xvdb"]?.openCount = 2 }
    #expect(throws: error) { try house.history.checkRollback(to: 1, users: guest) }
    // Its backend may take a while to let go of it, and a process that serves a disk may have it open twice.
    try house.history.checkRollback(to: 1, users: guest.afterItsEnd)
    let served = Xen.GuestDisk(vdev: "xvdb", path: "/dev/mapper/ckpt-web-xvdb", device: nil, isReadOnly: false)
    try house.history.checkRollback(to: 1, users: .guest(with: [disks[0], served]))
    #expect(throws: error) { try house.history.rollBack(to: 1) }
    #expect(house.devices.map { house.fake.content(of: $0) } == ["second", "second"])
    try house.expectSettled("after a refusal")
  }
}
