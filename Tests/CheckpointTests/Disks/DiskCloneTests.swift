import DeviceMapper
import EpochStore
import Testing

@testable import Checkpoint

/// Disks that other guests get of an epoch, and what becomes of them.
struct DiskCloneTests {
  private let house: PoolHouse
  private var disks: Disks { Disks(house.pools) }

  init() throws {
    house = try PoolHouse()
    try house.take(1)
    for device in house.devices { house.fake.write("second", to: device) }
  }

  private func clone(_ name: String) throws -> [String: String] {
    try disks.clone(name, ofGuest: PoolHouse.uuid, epoch: 1)
  }

  @Test func aCloneHasTheEpochsContentAndTheOriginalKeepsIts() throws {
    let paths = try clone("copy")
    #expect(paths == ["xvda": "/dev/mapper/ckpt-copy-xvda", "xvdb": "/dev/mapper/ckpt-copy-xvdb"])
    for vdev in ["xvda", "xvdb"] {
      #expect(house.fake.content(of: "ckpt-copy-\(vdev)") == "first")
      house.fake.write("third", to: "ckpt-copy-\(vdev)")
    }
    #expect(house.devices.map { house.fake.content(of: $0) } == ["second", "second"])
    #expect(try house.content(ofEpoch: 1) == ["xvda": "first", "xvdb": "first"])
    #expect(try disks.list().filter { $0.guest == "copy" }.map(\.sizeBytes) == [1 << 20, 1 << 20])
    try house.expectSettled("after a clone")
  }

  @Test func severalClonesOfOneEpochShareNothingThatIsWritten() throws {
    for name in ["a", "b", "c"] { _ = try clone(name) }
    house.fake.write("mine", to: "ckpt-b-xvda")
    #expect(["a", "b", "c"].map { house.fake.content(of: "ckpt-\($0)-xvda") } == ["first", "mine", "first"])
    // The epoch can go, and the original's disks be brought back, without any of them.
    try house.history.forget(epoch: 1)
    #expect(house.fake.content(of: "ckpt-a-xvda") == "first")
    try house.expectSettled("after three clones")
  }

  @Test func aNameThatHasDisksIsRefusedBeforeAnythingIsMade() throws {
    let manifest = try house.catalog().snapshots(PoolHouse.uuid, 1).map {
      DiskEpoch(vdev: $0.vdev, pool: "p", thinID: $0.thinID, sizeBytes: 1 << 20, device: "", readOnly: false)
    }
    try disks.checkClone("copy", ofGuest: PoolHouse.uuid, epoch: 1, expected: manifest)
    _ = try disks.create(guest: "copy", vdev: "xvdb", size: 1 << 20)
    let before = try house.catalog()
    let exists = DiskError.exists(device: "ckpt-copy-xvdb")
    #expect(throws: exists) {
      try disks.checkClone("copy", ofGuest: PoolHouse.uuid, epoch: 1, expected: manifest)
    }
    #expect(throws: exists) { try clone("copy") }
    #expect(try house.catalog() == before)
    #expect(throws: DiskError.noSuchEpoch(guest: PoolHouse.uuid, epoch: 2)) {
      try disks.checkClone("other", ofGuest: PoolHouse.uuid, epoch: 2, expected: manifest)
    }
  }

  @Test func aRefusedSnapshotLeavesNothing() throws {
    house.fake.kernel { $0.refuseSnapshots = true }
    #expect(throws: DeviceMapperError.self) { try clone("copy") }
    try house.expectSettled("after a refused clone")
    #expect(try disks.list().allSatisfy { $0.guest == "web" })
  }

  @Test func aFullPoolTakesNoClone() throws {
    house.fake.kernel { $0.status.usedDataBlocks = 65536 - 1310 }
    #expect(throws: PoolError.self) { try clone("copy") }
    try house.expectSettled("after a full pool")
  }

  // MARK: Removing

  @Test func aClonesDisksGoAndNoOthers() throws {
    _ = try clone("copy")
    let removed = try disks.remove(guest: "copy")
    #expect(removed.map(\.path) == ["/dev/mapper/ckpt-copy-xvda", "/dev/mapper/ckpt-copy-xvdb"])
    #expect(house.fake.kernel { $0.devices["ckpt-copy-xvda"] } == nil)
    #expect(house.devices.map { house.fake.content(of: $0) } == ["second", "second"])
    try house.expectSettled("after a removal")
    #expect(throws: DiskError.unknown(disk: "of guest 'copy'")) { try disks.remove(guest: "copy") }
    #expect(throws: DiskError.unknown(disk: "xvdz of guest 'web'")) { try disks.remove(guest: "web", vdev: "xvdz") }
    // The name is free again.
    _ = try clone("copy")
  }

  @Test func aDiskWithEpochsStays() throws {
    #expect(throws: DiskError.hasEpochs(guest: "web", device: "ckpt-web-xvda", epochs: [1])) {
      try disks.remove(guest: "web", vdev: "xvda")
    }
    try house.history.forget(epoch: 1)
    #expect(try disks.remove(guest: "web", vdev: "xvda").count == 1)
    #expect(try disks.list().map(\.vdev) == ["xvdb"])
    try house.expectSettled("after one disk")
  }

  @Test(arguments: [true, false])
  func aDiskInUseStaysAndSoDoTheOthers(isSeenBefore: Bool) throws {
    _ = try clone("copy")
    house.fake.kernel { $0.devices["ckpt-copy-xvdb"]?.isOpen = true }
    house.fake.kernel { $0.showsOpen = isSeenBefore }
    let before = try house.catalog().volumes
    #expect(throws: DiskError.inUse(device: "ckpt-copy-xvdb")) { try disks.remove(guest: "copy") }
    #expect(try house.catalog().volumes == before)
    #expect(house.fake.content(of: "ckpt-copy-xvda") == "first")
    try house.expectSettled("after a refused removal")
  }
}
