import Testing

@testable import DeviceMapper

/// The kernel's status line decides whether a guest may be given a snapshot.
struct PoolStatusTests {
  @Test func freshPoolOf64MiBMetadata() throws {
    let line = "0 1650/16384 0/16384 - rw discard_passdown queue_if_no_space - 1024"
    let status = try #require(PoolStatus(line: line))
    #expect(status.mode == .readWrite)
    #expect(status.transactionID == 0)
    #expect(status.hiddenMetadataReserveBlocks == 1638)
    #expect(status.freeMetadataBytes == (16384 - 1650) * 4096)
    #expect(status.freeDataBlocks == 16384)
    #expect(status.heldMetadataRoot == nil)
    #expect(!status.needsCheck && !status.errorsWhenFull && status.discardPassdown)
  }

  @Test(arguments: [
    (
      "7 20/1024 100/100 - out_of_data_space discard_passdown error_if_no_space - 256",
      PoolStatus.Mode.outOfDataSpace
    ),
    ("7 1024/1024 9/100 - ro no_discard_passdown queue_if_no_space needs_check 256", .readOnly),
    ("7 20/1024 9/100 163 rw ignore_discard queue_if_no_space -", .readWrite),
    ("Fail", .failed),
  ])
  func modes(line: String, mode: PoolStatus.Mode) throws {
    #expect(try #require(PoolStatus(line: line)).mode == mode)
  }

  @Test func flagsOfAnUnhealthyPool() throws {
    let status = try #require(
      PoolStatus(line: "7 9/1024 9/100 163 ro no_discard_passdown error_if_no_space needs_check 2"))
    #expect(status.needsCheck && status.errorsWhenFull && !status.discardPassdown)
    #expect(status.heldMetadataRoot == 163)
    #expect(try #require(PoolStatus(line: "Fail")).needsCheck)
  }

  @Test func hiddenReserveEndsAt16MiB() throws {
    let status = try #require(
      PoolStatus(line: "0 4100/1000000 0/1 - rw discard_passdown queue_if_no_space - 1024"))
    #expect(status.hiddenMetadataReserveBlocks == 4096)
  }

  @Test(arguments: [
    "", "Error", "Fail now", "rw", "x 1/2 1/2 - rw discard_passdown queue_if_no_space - 1",
    "1 1-2 1/2 - rw discard_passdown queue_if_no_space - 1",
    "1 3/2 1/2 - rw discard_passdown queue_if_no_space - 1",
    "1 1/2 1/2 ? rw discard_passdown queue_if_no_space - 1",
    "1 1/2 1/2 - wr discard_passdown queue_if_no_space - 1",
    "1 1/2 1/2 - Fail discard_passdown queue_if_no_space - 1", "1 1/2 1/2 - rw discard queue_if_no_space - 1",
    "1 1/2 1/2 - rw discard_passdown queue - 1", "1 1/2 1/2 - rw discard_passdown queue_if_no_space maybe 1",
    "1 1/2/3 1/2 - rw discard_passdown queue_if_no_space - 1",
    "1 1/2 1/2 - rw discard_passdown queue_if_no_space",
  ])
  func refusesWhatItDoesNotKnow(line: String) {
    #expect(PoolStatus(line: line) == nil)
  }
}
