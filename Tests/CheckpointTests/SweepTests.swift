import EpochStore
import Foundation
import Testing

@testable import Checkpoint

@Suite("What ended takes left")
struct SweepTests {
  @Test("files and snapshots that were never published go, published ones stay") func leftovers() throws {
    let house = try PruneHouse(epochs: 2)
    // The disks' part of epoch 3 was committed, its manifest never came.
    try house.take(3, publish: false)
    let partial = house.folder.path + "/00000003.epoch.partial"
    try Data([1]).write(to: URL(fileURLWithPath: partial))
    let sweep = Sweep([house.folder], house.house.pools)
    #expect(sweep.failures == [])
    #expect(sweep.swept.count == 2)
    #expect(!FileManager.default.fileExists(atPath: partial))
    try house.expect([1, 2], "swept")
    #expect(Sweep([house.folder], house.house.pools).swept == [])
  }

  @Test("what a living take has locked is left alone, and is no failure") func locked() throws {
    let house = try PruneHouse(epochs: 1)
    try house.take(2, publish: false)
    let lock = try house.folder.lock(.exclusive)
    let sweep = Sweep([house.folder], house.house.pools)
    #expect(sweep.swept == [] && sweep.failures == [])
    _ = consume lock
    #expect(Sweep([house.folder], house.house.pools).swept.count == 1)
  }
}
