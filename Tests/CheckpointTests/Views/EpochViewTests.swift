import DeviceMapper
import EpochStore
import Foundation
import Testing

@testable import Checkpoint

@Suite("Disks of epochs to look at")
struct EpochViewTests {
  private let device = "ckpt-web-xvda-epoch1"

  private func views(_ house: PoolHouse, mounts: String = "") -> EpochViews {
    EpochViews(pools: house.pools, mountTable: { mounts })
  }

  private func manifest(_ house: PoolHouse, epoch: Int = 1) throws -> EpochManifest {
    let snapshots = try house.catalog().snapshots(PoolHouse.uuid, epoch)
    var disks = snapshots.map {
      EpochManifest.Disk(
        vdev: $0.vdev, pool: "p", thinID: $0.thinID, sizeBytes: $0.sizeSectors * 512,
        device: "/dev/mapper/\($0.device)",
        readOnly: false)
    }
    disks.append(.init(vdev: "xvdc", pool: "", thinID: nil, sizeBytes: 0, device: "/dev/loop7", readOnly: true))
    return EpochManifest(
      guest: "web", uuid: PoolHouse.uuid, epoch: epoch, kind: .pvh, vcpus: 1, memoryBytes: 1 << 20, disks: disks)
  }

  /// Epoch 1 has "first" on both disks, the guest wrote "second" since.
  private func house() throws -> PoolHouse {
    let house = try PoolHouse()
    try house.take(1)
    for device in house.devices { house.fake.write("second", to: device) }
    return house
  }

  @Test("A whole view is the epoch's own snapshot, read-only") func whole() throws {
    let house = try house()
    let view = try views(house).make(.whole, "xvda", of: manifest(house))
    #expect(view.path == "/dev/mapper/\(device)" && view.isReadOnly)
    #expect(house.fake.content(of: device) == "first")
    #expect(house.fake.kernel { $0.devices[device]?.readOnly } == true)
    #expect(try views(house).list() == [view])
    #expect(try house.history.mountedEpochs() == [1])
    try views(house).remove(view)
    #expect(try views(house).list() == [])
    try house.expectSettled("after a view")
  }

  @Test("A scratch view takes writes, changes no epoch, and is thrown away") func scratch() throws {
    let house = try house()
    let view = try views(house).make(.scratch, "xvda", of: manifest(house))
    #expect(!view.isReadOnly && house.fake.content(of: device) == "first")
    house.fake.write("replayed", to: device)
    #expect(try house.content(ofEpoch: 1)["xvda"] == "first")
    // Takes go on, and do not lose it.
    try house.take(2)
    #expect(house.fake.content(of: device) == "replayed")
    try views(house).remove(view)
    try house.expectSettled("after a scratch view")
  }

  @Test("After a crash or a reboot the pool throws it away by itself", arguments: 1...3)
  func crash(dieAfter step: Int) throws {
    let house = try house()
    house.fake.kernel { $0.dieAfter = $0.changes + step }
    _ = try? views(house).make(.scratch, "xvda", of: manifest(house))
    house.fake.restart(reboot: true)
    try house.pools.ensureActive("p")
    try house.expectSettled("died after \(step)")
    #expect(try views(house).list() == [])
  }

  @Test("What a killed mount left is swept, what is mounted stays") func abandoned() throws {
    let house = try house()
    let view = try views(house).make(.scratch, "xvda", of: manifest(house))
    let whole = try views(house).make(.whole, "xvdb", of: manifest(house))
    let table = "36 28 \(view.number) / /mnt/a\\040b ro,relatime shared:1 - ext4 \(view.path) ro\n"
    let mounted = try #require(try views(house, mounts: table).list().first)
    #expect(mounted.mounts == ["/mnt/a b"])
    #expect(try views(house, mounts: table).removeAbandoned(of: PoolHouse.uuid) == [])
    #expect(try views(house).removeAbandoned(of: PoolHouse.uuid) == [device])
    #expect(try views(house).list() == [whole])
  }

  @Test("Words for what cannot be shown") func refusals() throws {
    let house = try house()
    let manifest = try manifest(house)
    #expect(throws: ViewError.noDisk(vdev: "xvdz", epoch: 1, known: ["xvda", "xvdb", "xvdc"])) {
      try views(house).make(.whole, "xvdz", of: manifest)
    }
    #expect(throws: ViewError.noSnapshot(vdev: "xvdc", device: "/dev/loop7")) {
      try views(house).make(.whole, "xvdc", of: manifest)
    }
    let view = try views(house).make(.whole, "xvda", of: manifest)
    #expect(throws: ViewError.exists(guest: "web", vdev: "xvda", epoch: 1, device: view.path)) {
      try views(house).make(.scratch, "xvda", of: manifest)
    }
    house.fake.kernel { $0.held = device }
    let error = #expect(throws: ViewError.self) { try views(house).remove(view) }
    #expect(error?.exitStatus == .locked)
    try house.history.forget(epoch: 1)
    #expect(throws: DiskError.noSuchEpoch(guest: "web", epoch: 1)) {
      try views(house).make(.whole, "xvdb", of: manifest)
    }
  }

  @Test("What does not mount is there without a folder, and by its partitions") func instead() throws {
    let house = try house()
    let view = try views(house).make(.whole, "xvda", of: manifest(house))
    let whole = "without --at it is there as a block device"
    #expect(Engine.instead(of: view, nil) == whole && Engine.instead(of: view, .luks) == whole)
    #expect(Engine.instead(of: view, .partitionTable).hasSuffix("by: losetup -fP --show -r /dev/mapper/\(device)"))
  }

  @Test("A device of that name that is not ours is left alone") func foreign() throws {
    let house = try house()
    house.fake.kernel {
      $0.devices[device] = .init(uuid: "LVM-1", number: DeviceNumber(major: 253, minor: 99), table: [])
    }
    #expect(throws: PoolError.self) { try views(house).make(.whole, "xvda", of: manifest(house)) }
    #expect(try views(house).list() == [])
  }

  @Test("A mounted epoch is not pruned, but others are") func pruned() throws {
    let house = try PruneHouse(epochs: 3)
    let view = try views(house.house).make(.whole, "xvda", of: manifest(house.house, epoch: 2))
    let first = try house.prune(keeping: 1)
    #expect(first.mounted == [2] && first.notes.last?.hasPrefix("epoch 2 is mounted and stays") == true)
    try house.expect([2, 3], "while one is mounted")
    try views(house.house).remove(view)
    try house.prune(keeping: 1)
    try house.expect([3], "after umount")
  }

  /// What a killed export left: its process is gone, and by now another may have its number.
  private func leave(_ name: String, of epoch: Int, in house: PoolHouse) throws {
    let pool = try house.pools.open("p")
    let snapshot = try #require(pool.catalog.snapshots(PoolHouse.uuid, epoch).first)
    let number = try #require(try house.fake.info(pool.device)?.number)
    try house.fake.create(
      name, uuid: "\(EpochView.uuid(.carried, of: snapshot, in: pool.catalog))-\(getpid())",
      table: [.thin(pool: number, id: snapshot.thinID, sectors: snapshot.sizeSectors)], readOnly: true)
  }

  @Test("What a killed export left keeps no epoch from being pruned, and goes with it") func carried() throws {
    let house = try PruneHouse(epochs: 3)
    try leave("ckpt-carry-1-1", of: 1, in: house.house)
    try house.prune(keeping: 1)
    try house.expect([3], "after a killed export")
    #expect(house.house.fake.kernel { $0.devices["ckpt-carry-1-1"] } == nil)
    // Also when it cannot be taken away just now.
    try house.take(4)
    try leave("ckpt-carry-1-2", of: 3, in: house.house)
    house.house.fake.kernel { $0.held = "ckpt-carry-1-2" }
    #expect(try house.prune(keeping: 1).pools.map(\.inUse) == [1])
    #expect(try house.folder.epochs().allNumbers == [4])
    // A take that makes room looks in the same way.
    try leave("ckpt-carry-1-3", of: 4, in: house.house)
    #expect(try house.house.guestDisks().mountedEpochs() == [])
  }
}
