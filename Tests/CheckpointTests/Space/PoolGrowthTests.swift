import DeviceMapper
import EpochStore
import Glibc
import Testing

@testable import Checkpoint

struct PoolGrowthTests {
  @Test func filesAreEnlargedAndThePoolTakesThemIn() throws {
    let house = try PoolHouse(inFiles: true)
    try house.pools.grow("p", data: (8 << 30) + 5, metadata: (128 << 20) + 5)
    let kernel = house.fake.kernel { $0 }
    #expect(kernel.enlarged == ["\(house.store)/p.data": 8 << 30, "\(house.store)/p.metadata": 128 << 20])
    #expect(kernel.status.totalDataBlocks == 131072 && kernel.status.totalMetadataBlocks == 32768)
    #expect(
      kernel.devices["ckpt-p-pool"]?.table == [
        .thinPool(
          metadata: DeviceNumber(major: 7, minor: 1), data: DeviceNumber(major: 7, minor: 0), dataSectors: 16 << 20,
          blockSectors: 128, lowWaterBlocks: 6553)
      ])
    try house.expectSettled("after growing")
    try house.take(1)
  }

  @Test func devicesThatGotLargerAreTakenIn() throws {
    let house = try PoolHouse()
    house.fake.kernel { $0.dataSectors = 70000 * 128 + 5 }
    try house.pools.grow("p")
    #expect(house.fake.kernel { $0.status.totalDataBlocks } == 70000)
    // Nobody's Ctrl-C comes between its standing still and its going on.
    #expect(house.fake.kernel { $0.poolSwaps } == [true])
    try house.expectSettled("after growing")
  }

  @Test(
    arguments: [
      (false, nil, 1 << 30, "it lies on devices"), (true, nil, nil, "say --data-size or --metadata-size"),
      (true, 1 << 20, nil, "p.data has 4.0G already"), (true, nil, 4096, "p.metadata has 64.0M already"),
    ] as [(Bool, UInt64?, UInt64?, String)])
  func whatCannotBeIsRefused(inFiles: Bool, data: UInt64?, metadata: UInt64?, why: String) throws {
    let house = try PoolHouse(inFiles: inFiles)
    let before = house.fake.kernel { $0.devices }
    #expect { try house.pools.grow("p", data: data, metadata: metadata) } throws: {
      "\($0)".hasPrefix("pool p: cannot be enlarged: ") && "\($0)".contains(why)
    }
    #expect(house.fake.kernel { $0.devices } == before)
  }

  @Test func aDeviceThatGotSmallerAndADamagedPoolAreLeftAlone() throws {
    let house = try PoolHouse()
    house.fake.kernel { $0.dataSectors = 128 }
    #expect(throws: PoolError.self) { try house.pools.grow("p") }
    house.fake.kernel { ($0.dataSectors, $0.status.mode, $0.status.needsCheck) = (1 << 30, .readOnly, true) }
    #expect(throws: PoolError.self) { try house.pools.grow("p") }
    #expect(house.fake.kernel { $0.status.totalDataBlocks } == 65536)
    // Out of metadata: growing is the cure.
    house.fake.kernel { $0.status.needsCheck = false }
    try house.pools.grow("p")
    #expect(house.fake.kernel { $0.status.totalDataBlocks } == 1 << 23)
  }

  @Test func metadataInFilesThatRunsLowGrowsByItself() throws {
    let house = try PoolHouse(inFiles: true)
    house.fake.kernel { $0.status.usedMetadataBlocks = 12289 }
    let rooms = try house.guestDisks().rooms()
    #expect(house.fake.kernel { $0.status.totalMetadataBlocks } == 32768)
    #expect(rooms.count == 1 && rooms[0].metadataTotal == (32768 - 3276) * 4096)
    #expect(rooms[0].warnings == ["pool p: its metadata ran low and was grown from 64.0M to 128.0M"])
    // Enough now.
    #expect(try house.guestDisks().rooms()[0].warnings.isEmpty)
  }

  @Test func metadataOnDevicesIsOnlyToldOf() throws {
    let house = try PoolHouse()
    house.fake.kernel { $0.status.usedMetadataBlocks = 13000 }
    let rooms = try house.guestDisks().rooms()
    #expect(
      rooms.flatMap(\.warnings) == [
        "pool p: 77 % of its metadata are used; prune epochs, or enlarge its metadata device, then: ckpt pool grow p"
      ])
    #expect(house.fake.kernel { $0.status.totalMetadataBlocks } == 16384)
  }

  @Test(
    arguments: [
      (
        PoolStatus(
          mode: .readWrite, usedMetadataBlocks: 1650, totalMetadataBlocks: 16384, usedDataBlocks: 0,
          totalDataBlocks: 100), 1 as ThinID, []
      ),
      (
        PoolStatus(mode: .readWrite, totalMetadataBlocks: 16384, usedDataBlocks: 85, totalDataBlocks: 100), 1,
        ["85 % of its data"]
      ),
      (
        PoolStatus(mode: .readWrite, totalMetadataBlocks: 16384, totalDataBlocks: 100), 11_250_001,
        ["75 % of the snapshots"]
      ),
      (
        PoolStatus(mode: .readWrite, totalMetadataBlocks: 16384, totalDataBlocks: 100, heldMetadataRoot: 7), 1,
        ["dmsetup message ckpt-p-pool 0 release_metadata_snap"]
      ),
      (PoolStatus(mode: .failed, needsCheck: true), 1, []),
    ] as [(PoolStatus, ThinID, [String])])
  func peopleAreToldEarly(status: PoolStatus, nextID: ThinID, words: [String]) {
    var catalog = PoolCatalog(name: "p", identity: "a", backing: .devices(data: "/dev/a", metadata: "/dev/b"))
    catalog.nextThinID = nextID
    let warnings = PoolRoom(catalog, status).warnings
    #expect(warnings.count == words.count)
    for (warning, words) in zip(warnings, words) { #expect(warning.hasPrefix("pool p: ") && warning.contains(words)) }
  }

  @Test func onlyWhatPruningCuresIsAProblemOfRoom() {
    let catalog = PoolCatalog(name: "p", identity: "a", backing: .devices(data: "/dev/a", metadata: "/dev/b"))
    func problem(_ status: PoolStatus) -> PoolError? { PoolRoom(catalog, status).problem }
    let healthy = PoolStatus(mode: .readWrite, totalMetadataBlocks: 16384, totalDataBlocks: 65536)
    #expect(problem(healthy) == nil)
    var status = healthy
    status.usedDataBlocks = 65000
    #expect(problem(status) != nil)
    status.mode = .outOfDataSpace
    #expect(problem(status) != nil)
    status.mode = .readOnly
    #expect(problem(status) == nil)
    #expect(problem(PoolStatus(mode: .failed, needsCheck: true)) == nil)
  }
}
