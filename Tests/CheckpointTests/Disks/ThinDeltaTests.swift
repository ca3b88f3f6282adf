import DeviceMapper
import Dispatch
import Glibc
import Testing

@testable import Checkpoint

@Suite("Blocks of two epochs compared")
struct ThinDeltaTests {
  // As thin_delta 0.9.0 printed it for a pool made with thin_restore.
  static let output = """
    <superblock uuid="" time="1" transaction="2" data_block_size="128" nr_data_blocks="64">
      <diff left="1" right="2">
        <same begin="0" length="3"/>
        <different begin="3" length="2"/>
        <left_only begin="9" length="1"/>
        <right_only begin="12" length="4"/>
        <right_only begin="20" length="1"/>
      </diff>
    </superblock>

    """

  private func house() throws -> PoolHouse {
    let house = try PoolHouse()
    house.fake.kernel { $0.thinDelta = Self.output }
    return house
  }

  private func delta(_ house: PoolHouse) throws -> ThinDelta { try delta(house.pools) }
  private func delta(_ pools: Pools) throws -> ThinDelta {
    try #require(ThinDelta(thinDelta: pools.thinDelta("p", from: 1, to: 2).0))
  }

  @Test("Ranges are counted by kind") func counts() throws {
    let house = try house()
    var expected = ThinDelta()
    (expected.same, expected.changed, expected.added, expected.removed) = (3, 2, 5, 1)
    #expect(try delta(house) == expected)
    #expect(try house.pools.thinDelta("p", from: 1, to: 2).blockBytes == 65536)
    #expect(house.fake.kernel { $0.metadataHeld } == false)
  }

  @Test("Output that breaks off or makes no sense is not counted")
  func broken() {
    #expect(ThinDelta(thinDelta: Array(Self.output.utf8.dropLast(20))) == nil)
    #expect(ThinDelta(thinDelta: Array(Self.output.utf8)) != nil)
    for length in ["-1", "99999999999999999999", "281474976710656", ""] {
      let text = "<superblock>\n<same begin=\"0\" length=\"\(length)\"/>\n</superblock>\n"
      #expect(ThinDelta(thinDelta: Array(text.utf8)) == nil)
    }
  }

  @Test("A metadata snapshot that a killed ckpt left is released; another tool's is not touched") func stale() throws {
    let house = try house()
    house.fake.kernel { $0.metadataHeld = true }
    let error = #expect(throws: PoolError.self) { try delta(house) }
    #expect(error?.description.contains("release_metadata_snap") == true)
    #expect(house.fake.kernel { $0.metadataHeld })
    house.fake.kernel { $0.metadataHeld = false }

    // Killed while it reads: snapshot and mark stay, the flock does not.
    house.fake.kernel { $0.metadataHeld = true }
    let mark = "\(house.store)/pools/p/metadata-snapshot"
    let descriptor = open(mark, O_WRONLY | O_CREAT, 0o600)
    #expect(write(descriptor, "1", 1) == 1)
    close(descriptor)
    #expect(try delta(house).same == 3)
    #expect(house.fake.kernel { $0.metadataHeld } == false)
  }

  @Test("One reads at a time, and takes go on meanwhile") func sharing() throws {
    let house = try house()
    let snapshot = try MetadataSnapshot("p", in: house.pools)
    #expect(throws: PoolError.locked(pool: "p")) { try delta(house) }
    try house.take(1)
    #expect(house.fake.kernel { $0.metadataHeld })
    _ = consume snapshot
    #expect(try delta(house).same == 3)
  }

  @Test("A second one waits for the first, keeps no take waiting meanwhile, and can be told to stop") func turns()
    throws
  {
    let house = try house()
    var snapshot: MetadataSnapshot? = try MetadataSnapshot("p", in: house.pools)
    withExtendedLifetime(snapshot) {}
    let (patient, done) = (house.pools.waiting(seconds: 60) {}, DispatchSemaphore(value: 0))
    // Written before the signal, read after it.
    nonisolated(unsafe) var waited: ThinDelta?
    DispatchQueue.global().async {
      waited = try? delta(patient)
      done.signal()
    }
    try house.take(1)
    let cancellation = TakeCancellation()
    DispatchQueue.global().asyncAfter(deadline: .now() + .milliseconds(50)) { cancellation.cancel() }
    #expect(throws: CheckpointError.interrupted) {
      try delta(house.pools.waiting(for: cancellation))
    }
    #expect(house.fake.kernel { $0.metadataHeld })
    snapshot = nil
    #expect(done.wait(timeout: .now() + .seconds(60)) == .success && waited?.same == 3)
    #expect(house.fake.kernel { $0.metadataHeld } == false)
  }

  @Test("What a killed one left held is released by the next sweep; what a living one or another tool holds is not")
  func swept() throws {
    let house = try house()
    func sweep() -> [String] {
      let sweep = Sweep([], house.pools)
      #expect(sweep.failures == [])
      return sweep.swept
    }
    let snapshot = try MetadataSnapshot("p", in: house.pools)
    #expect(sweep() == [] && house.fake.kernel { $0.metadataHeld })
    _ = consume snapshot
    house.fake.kernel { $0.metadataHeld = true }
    #expect(sweep() == [] && house.fake.kernel { $0.metadataHeld })
    let mark = open("\(house.store)/pools/p/metadata-snapshot", O_WRONLY)
    #expect(write(mark, "1", 1) == 1)
    close(mark)
    #expect(sweep() == ["pool p: the snapshot of its metadata that a killed export or diff held is released"])
    #expect(house.fake.kernel { $0.metadataHeld } == false)
    #expect(sweep() == [])
  }

  @Test("A tool that runs is ended", .timeLimit(.minutes(1))) func ended() throws {
    #expect(throws: CheckpointError.interrupted) {
      try Command.run(["sleep", "600"]) { throw CheckpointError.interrupted }
    }
    #expect(try Command.run(["echo", "done"]) {} == Array("done\n".utf8))
  }
}

@Suite("Disks by region")
struct DiskRegionTests {
  private func regions(_ output: String, sizeBytes: UInt64) -> [EpochDifference.DiskRegion] {
    var counter = DiskRegionCounter(sizeBytes: sizeBytes, blockBytes: 65536)
    _ = ThinDelta.forEachRange(thinDelta: Array(output.utf8)) { counter.count($0, $1, $2) }
    return counter.regions
  }

  private func region(_ start: UInt64, _ changed: UInt64, _ added: UInt64, _ removed: UInt64)
    -> EpochDifference.DiskRegion
  {
    var region = EpochDifference.DiskRegion(start: start << 16, bytes: 4 << 16)
    (region.changed, region.added, region.removed) = (changed, added, removed)
    return region
  }

  @Test("A range that lies in two regions counts in both, and each block once")
  func split() {
    #expect(
      regions(ThinDeltaTests.output, sizeBytes: 64 << 16) == [
        region(0, 1, 0, 0), region(4, 1, 0, 0), region(8, 0, 0, 1), region(12, 0, 4, 0), region(20, 0, 1, 0),
      ])
  }

  @Test("There are at most sixteen, whatever the size, and nothing is counted behind the disk's end")
  func bounds() {
    for blocks in [1, 15, 16, 17, 1000, 1 << 33] as [UInt64] {
      let text = "<different begin=\"0\" length=\"281474976710655\"/>\n"
      let found = regions(text, sizeBytes: blocks << 16)
      #expect((1...16).contains(found.count))
      let counted = found.reduce(0) { $0 + $1.changed }
      #expect(counted >= blocks && counted < 2 * blocks + 16)
      #expect(zip(found, found.dropFirst()).allSatisfy { $0.start + $0.bytes == $1.start })
    }
    #expect(regions("", sizeBytes: 0) == [])
  }
}

@Suite("Memory by region")
struct RegionTests {
  @Test("At most sixteen rows, of one size, with all pages", arguments: [1, 17, 300, 5000] as [UInt64])
  func rows(stretches: UInt64) {
    var counter = RegionCounter()
    for number in 0..<stretches {
      counter.count(number * 600) { ($0.pages, $0.changed) = ($0.pages + 2, $0.changed + 1) }
    }
    // What Xen puts below 4 GiB in a small PVH guest.
    counter.count(0xfeff8) { $0.pages += 1 }
    let regions = counter.regions(most: 16)
    #expect((1...16).contains(regions.count))
    #expect(Set(regions.map(\.bytes)).count == 1)
    #expect(regions.reduce(0) { $0 + $1.pages } == Int(stretches) * 2 + 1)
    #expect(regions.reduce(0) { $0 + $1.changed } == Int(stretches))
    #expect(regions.allSatisfy { $0.start % $0.bytes == 0 })
    #expect(zip(regions, regions.dropFirst()).allSatisfy { $0.start < $1.start })
  }
}
