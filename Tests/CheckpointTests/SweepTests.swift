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

  @Test("a guest's folder that is elsewhere for a while costs no disk of its epochs") func elsewhere() throws {
    let guest = try PruneHouse(epochs: 2)
    let (path, away) = (guest.folder.path, guest.path + "/away")
    try FileManager.default.moveItem(atPath: path, toPath: away)
    let other = try EpochStore(path: guest.path).folder(uuid: PoolHouse.uuid, create: true)
    for _ in 1...2 {
      let sweep = Sweep([other], guest.house.pools)
      #expect(sweep.failures == [] && sweep.swept.count == 1)
      #expect(sweep.swept.first?.contains("pool p has disks of epoch 1 to 2 of guest \(PoolHouse.uuid)") == true)
    }
    // The other folder comes to use higher numbers, and still knows nothing of these.
    try guest.house.history.forgetUnpublished(published: [3], used: 3)
    #expect(try guest.house.history.epochs() == [1, 2])

    try FileManager.default.removeItem(atPath: path)
    try FileManager.default.moveItem(atPath: away, toPath: path)
    #expect(Sweep([guest.folder], guest.house.pools).swept == [])
    try guest.expect([1, 2], "after its folder came back")
    try guest.prune(keeping: 1)
    try guest.expect([2], "after a prune")
  }

  @Test("the disks of a folder that was lost go when somebody says so, and not those of one that is back")
  func givenUp() throws {
    let guest = try PruneHouse(epochs: 2)
    let (path, away) = (guest.folder.path, guest.path + "/away")
    try FileManager.default.moveItem(atPath: path, toPath: away)
    let other = try EpochStore(path: guest.path).folder(uuid: PoolHouse.uuid, create: true)
    let text = try #require(Sweep([other], guest.house.pools).swept.first)
    #expect(text.hasSuffix("to give them up: ckpt remove \(PoolHouse.uuid) 1 2"))
    func remove(_ epochs: Set<Int>) throws -> Pruned {
      let plan = try RemovePlan(guest.folder, guest: "web", epochs: epochs, unknown: epochs, force: false)
      return try plan.perform(disks: { guest.house.history })
    }
    #expect(try remove([2]).pools.map(\.snapshots) == [2])
    #expect(try guest.house.history.epochs() == [1])

    try FileManager.default.removeItem(atPath: path)
    try FileManager.default.moveItem(atPath: away, toPath: path)
    #expect(try remove([1]).pools.map(\.snapshots) == [])
    #expect(try guest.house.history.epochs() == [1])
  }

  @Test("of a guest that was given up, the rest of its folder goes, which is no guest's") func givenUpGuest() throws {
    let temporary = try TemporaryStore()
    let path = temporary.path + "/.removed-" + PoolHouse.uuid
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
    for name in ["counter", "lock"] { try Data().write(to: URL(fileURLWithPath: path + "/" + name)) }
    let engine = Engine(storePath: temporary.path)
    #expect(try engine.status().guests.map(\.uuid) == [temporary.folder.uuid])
    #expect(engine.settle(temporary.folder.uuid).swept == [] && FileManager.default.fileExists(atPath: path))
    let settled = engine.settle(nil)
    #expect(settled.swept == ["guest \(PoolHouse.uuid) was given up, what was left of its folder is removed"])
    #expect(settled.failures == [] && !FileManager.default.fileExists(atPath: path))
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
