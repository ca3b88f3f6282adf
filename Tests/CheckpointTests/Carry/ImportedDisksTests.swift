import DeviceMapper
import EpochStore
import Testing

@testable import Checkpoint

@Suite("An import into a pool that guests use")
struct ImportedDisksTests {
  /// A device whose new blocks take room in the pool, and which takes none back.
  final class Filling: DiskContent {
    private let fake: FakePool
    private var blocks: Set<UInt64> = []
    init(_ fake: FakePool) { self.fake = fake }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) {
      for block in (offset / 65536)...((offset + UInt64(bytes.count) - 1) / 65536) where blocks.insert(block).inserted {
        fake.kernel { $0.status.usedDataBlocks += 1 }
      }
    }
    func read(_ buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) {}
    func discard(_ range: Range<UInt64>) -> Bool { false }
    func sync() {}
  }

  private let house: PoolHouse

  init() throws {
    house = try PoolHouse(disks: false)
    // 200 MiB are free, of which 82 MiB are kept for the guests.
    house.fake.kernel { $0.status.usedDataBlocks = 65536 - 3200 }
  }

  private func expectGivenUp(_ fill: (ImportedDisks) throws -> Void) throws {
    let access = DiskAccess { [fake = house.fake] _, _ in Filling(fake) }
    let disks = ImportedDisks(house.pools, access, guestUUID: PoolHouse.uuid, epoch: 1, file: "carried")
    let disk = DiskEpoch(
      vdev: "xvda", pool: "", thinID: nil, sizeBytes: 4 << 30, device: "/dev/mapper/ckpt-web-xvda", readOnly: false)
    _ = try disks.prepare([.init(number: 0, disk: disk, base: nil)], guest: "web", pool: nil)
    let error = #expect(throws: PoolError.self) { try fill(disks) }
    #expect(error?.description.contains("pool p: data nearly full") == true)
    let free = house.fake.kernel { $0.status.freeDataBlocks } * 65536
    #expect(free >= 32 << 20 && free < 82 << 20, "\(free) bytes are left to guests")
    disks.abandon()
    #expect(house.fake.kernel { $0.devices.keys.filter { $0.contains("carry") } } == [])
    try house.expectSettled("after it was given up")
  }

  @Test("is given up before they run out of room", arguments: [1 << 20, 512]) func written(count: Int) throws {
    let bytes = [UInt8](repeating: 1, count: count)
    try expectGivenUp { disks in
      // Each takes whole blocks, however small it is.
      for place in 0..<4096 {
        try bytes.withUnsafeBytes { try disks.write($0, disk: 0, at: UInt64(place) * UInt64(max(count, 65536))) }
      }
    }
  }

  @Test("is given up as well where ranges have to be filled with zeros") func cleared() throws {
    try expectGivenUp { try $0.clear(0..<(1 << 30), disk: 0) }
  }

  @Test("is refused where sectors have another size than the guest knows", arguments: [512, 4096, nil])
  func sectors(ofDisk bytes: Int?) throws {
    house.fake.kernel { $0.sectorBytes["ckpt-p-pool"] = 4096 }
    let access = DiskAccess { [fake = house.fake] _, _ in Filling(fake) }
    let disks = ImportedDisks(house.pools, access, guestUUID: PoolHouse.uuid, epoch: 1, file: "carried")
    let disk = DiskEpoch(
      vdev: "xvda", pool: "", thinID: nil, sizeBytes: 1 << 20, sectorBytes: bytes,
      device: "/dev/mapper/ckpt-web-xvda", readOnly: false)
    let wanted = [ImportedDisks.Wanted(number: 0, disk: disk, base: nil)]
    if bytes == 512 {
      let error = #expect(throws: CarryError.self) { try disks.prepare(wanted, guest: "web", pool: nil) }
      #expect(error?.description.contains("its sectors have 512 bytes, those of pool p 4096") == true)
      #expect(try house.catalog().doomed == [])
    } else {
      #expect(try disks.prepare(wanted, guest: "web", pool: nil)[0]?.sectorBytes == 4096)
    }
    disks.abandon()
    try house.expectSettled("after it")
  }
}
