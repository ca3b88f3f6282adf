import DeviceMapper
import Glibc
import Testing

@testable import Checkpoint

extension DiskHistory {
  /// Both steps of a rollback, for a guest that is gone; what fails is undone.
  @discardableResult
  func rollBack(to epoch: Int, users: DiskUsers = .nobody) throws -> RolledBack {
    var done = RolledBack()
    do { try beginRollback(to: epoch, users: users).finish(&done, users: users) } catch {
      _ = try? undo(done)
      throw error
    }
    return done
  }

  /// The first step alone, and back.
  func checkRollback(to epoch: Int, users: DiskUsers) throws { try beginRollback(to: epoch, users: users).abandon() }
}

/// A store in a folder of its own with one pool `p` on a fake kernel, and a guest `web` with two disks.
final class PoolHouse {
  static let uuid = "6f1c2f0e-0000-4000-8000-000000000001"

  let fake = FakePool()
  let store: String
  let pools: Pools
  var history: DiskHistory { DiskHistory(pools, guestUUID: Self.uuid) }
  let devices = ["ckpt-web-xvda", "ckpt-web-xvdb"]

  /// - Parameters:
  ///   - disks: makes the pool only when false.
  ///   - inFiles: the pool lies in two sparse files of the store: 4 GiB of data, 64 MiB of metadata.
  init(disks: Bool = true, inFiles: Bool = false) throws {
    var template = Array("/tmp/ckpt-pools.XXXXXX".utf8CString)
    store = String(cString: try #require(mkdtemp(&template)))
    pools = Pools(store: store, operations: fake, lockWait: 0)
    // Not by `Pools.create`: that looks at real devices.
    let folder = PoolFolder(store: store, name: "p")
    try folder.make()
    var backing = PoolCatalog.Backing.devices(data: "/dev/data", metadata: "/dev/meta")
    if inFiles {
      for (file, size) in [("p.data", 4 << 30), ("p.metadata", 64 << 20)] {
        close(open("\(store)/\(file)", O_CREAT | O_WRONLY, 0o600))
        #expect(truncate("\(store)/\(file)", size) == 0)
      }
      backing = .files(data: "\(store)/p.data", metadata: "\(store)/p.metadata")
    }
    try folder.save(PoolCatalog(name: "p", identity: "0123456789abcdef", backing: backing))
    guard disks else { return }
    for vdev in ["xvda", "xvdb"] { _ = try Disks(pools).create(guest: "web", vdev: vdev, size: 1 << 20) }
    for device in devices { fake.write("first", to: device) }
  }

  deinit {
    for file in [
      "p.data", "p.metadata", "pools/p/catalog.json", "pools/p/catalog.json.new", "pools/p/lock",
      "pools/p/metadata-snapshot", "pools/p/release",
    ] {
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
