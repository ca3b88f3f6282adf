import DeviceMapper
import Glibc
import Testing

@testable import Checkpoint

/// A store in a folder of its own with one pool `p` on a fake kernel, and a guest `web` with two disks.
final class PoolHouse {
  static let uuid = "6f1c2f0e-0000-4000-8000-000000000001"

  let fake = FakePool()
  let store: String
  let pools: Pools
  var history: DiskHistory { DiskHistory(pools, guestUUID: Self.uuid) }
  let devices = ["ckpt-web-xvda", "ckpt-web-xvdb"]

  /// - Parameter disks: makes the pool only when false.
  init(disks: Bool = true) throws {
    var template = Array("/tmp/ckpt-pools.XXXXXX".utf8CString)
    store = String(cString: try #require(mkdtemp(&template)))
    pools = Pools(store: store, operations: fake, lockWait: 0)
    // Not by `Pools.create`: that looks at real devices.
    let folder = PoolFolder(store: store, name: "p")
    try folder.make()
    try folder.save(
      PoolCatalog(
        name: "p", identity: "0123456789abcdef", backing: .devices(data: "/dev/data", metadata: "/dev/meta")))
    guard disks else { return }
    for vdev in ["xvda", "xvdb"] { _ = try Disks(pools).create(guest: "web", vdev: vdev, size: 1 << 20) }
    for device in devices { fake.write("first", to: device) }
  }

  deinit {
    for file in ["pools/p/catalog.json", "pools/p/catalog.json.new", "pools/p/lock"] {
      unlink("\(store)/\(file)")
    }
    for folder in ["pools/p", "pools", ""] { rmdir("\(store)/\(folder)") }
  }

  func catalog() throws -> PoolCatalog { try PoolFolder(store: store, name: "p").load() }

  func guestDisks() throws -> GuestDisks {
    let disks = devices.enumerated().map { index, device in
      GuestDisk(
        vdev: index == 0 ? "xvda" : "xvdb", number: fake.kernel { $0.devices[device]?.number }!,
        path: "/dev/mapper/\(device)", readOnly: false)
    }
    return try GuestDisks(pools: pools, guest: "web", guestUUID: Self.uuid, disks: disks)
  }

  func take(_ epoch: Int) throws {
    let disks = try guestDisks()
    try disks.reserve(epoch: epoch)
    _ = try disks.snapshot()
    try disks.commit()
  }

  /// The content of an epoch's disks, by vdev.
  func content(ofEpoch epoch: Int) throws -> [String: String] {
    var result: [String: String] = [:]
    for snapshot in try catalog().snapshots(Self.uuid, epoch) {
      result[snapshot.vdev] = fake.kernel { $0.contents[snapshot.thinID] }
    }
    return result
  }

  /// Kernel and catalogue agree: nothing begun, nothing leaked, nothing missing, everything running.
  func expectSettled(_ context: Comment) throws {
    let catalog = try catalog()
    #expect(catalog.intent == nil, context)
    #expect(catalog.doomed.isEmpty, context)
    let known =
      catalog.volumes.map(\.thinID) + catalog.epochs.map(\.thinID) + catalog.superseded.map(\.thinID)
    #expect(Set(known).count == known.count, context)
    let kernel = fake.kernel { $0 }
    #expect(Set(kernel.contents.keys) == Set(known), context)
    #expect(kernel.transactionID == catalog.transactionID, context)
    for volume in catalog.volumes {
      let device = try #require(kernel.devices[volume.device], context)
      #expect(!device.suspended && !device.inactive, context)
      #expect(device.table.first?.thinVolume?.id == volume.thinID, context)
    }
  }
}
