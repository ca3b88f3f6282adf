import DeviceMapper
import Testing

@testable import Checkpoint

/// A pool without disks of its own, and a guest `web` that runs on the volume `vg0/web`.
final class AdoptionHouse {
  let house: PoolHouse
  var fake: FakePool { house.fake }
  let number = DeviceNumber(major: 252, minor: 5)
  let plain = Target(sectors: 2048, type: "linear", parameters: "8:16 2048")
  /// The volume's own device, and the one that adopting makes.
  let (old, new) = ("vg0-web", "ckpt-web-xvda")

  init() throws {
    house = try PoolHouse(disks: false)
    let device = FakePool.Device(uuid: "LVM-abc", number: number, table: [plain], openCount: 1)
    fake.kernel { kernel in
      kernel.devices[old] = device
      kernel.volumes["vg0/web"] = (old, device)
      kernel.volumes["vg0/web"]?.device.openCount = 0
      kernel.raw[plain.parameters] = "before"
    }
  }

  var disk: GuestDisk { GuestDisk(vdev: "xvda", number: number, path: "/dev/vg0/web", readOnly: false) }

  /// Gives the guest a second volume, `vg0/web-data`.
  func addData() -> GuestDisk {
    let table = Target(sectors: 2048, type: "linear", parameters: "8:16 4096")
    let device = FakePool.Device(
      uuid: "LVM-def", number: DeviceNumber(major: 252, minor: 6), table: [table], openCount: 1)
    fake.kernel { kernel in
      kernel.devices["vg0-web--data"] = device
      kernel.volumes["vg0/web-data"] = ("vg0-web--data", device)
      kernel.volumes["vg0/web-data"]?.device.openCount = 0
      kernel.raw[table.parameters] = "data"
    }
    return GuestDisk(vdev: "xvdb", number: device.number, path: "/dev/vg0/web-data", readOnly: false)
  }

  @discardableResult
  func adopt(_ disks: [GuestDisk]? = nil, named: [String] = []) throws -> [AdoptedDisk] {
    try house.pools.adopt(guest: "web", disks: disks ?? [disk], named: named)
  }

  /// What the guest reads and writes: through the device whose number its backend holds.
  func read() -> String? { fake.content(of: old) }
  func write(_ text: String) { fake.write(text, to: old) }

  func guestDisks() throws -> GuestDisks {
    try GuestDisks(pools: house.pools, guest: "web", guestUUID: PoolHouse.uuid, disks: [disk])
  }

  /// - Returns: what the epoch's manifest names.
  @discardableResult
  func take(_ epoch: Int) throws -> [DiskEpoch] {
    let disks = try guestDisks()
    try disks.reserve(epoch: epoch)
    _ = try disks.snapshot()
    try disks.commit()
    return disks.disks
  }

  /// The guest ends.
  func stop() { fake.kernel { $0.devices[old]?.openCount = 0 } }
  func start() { fake.kernel { $0.devices[old]?.openCount = 1 } }

  /// As `lvchange --refresh` does.
  func refreshByLVM() { fake.kernel { $0.devices[old]?.table = [plain] } }

  func origin() throws -> AdoptedOrigin? { try house.catalog().volumes.first?.origin }

  /// No trace of the adoption: the guest is on its volume, as LVM made it.
  func expectPlain(_ context: Comment) throws {
    let kernel = fake.kernel { $0 }
    #expect(kernel.devices.keys.sorted() == ["ckpt-p-pool", old], context)
    #expect(kernel.devices[old]?.table == [plain], context)
    #expect(kernel.devices[old]?.suspended == false, context)
    #expect(kernel.marked.isEmpty, context)
    #expect(kernel.contents.isEmpty, context)
    let catalog = try house.catalog()
    #expect(catalog.volumes.isEmpty && catalog.doomed.isEmpty && catalog.intent == nil, context)
  }
}
