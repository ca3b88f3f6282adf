import EpochStore
import Testing

@testable import Checkpoint

/// A guest that `xl create` gave another uuid: the store has two folders of its name.
@Suite("Guests of one name")
struct NamesakesTests {
  private let temporary: TemporaryStore
  private let journal = Journal()
  private let old = "22222222-2222-3333-4444-555555555555"

  init() throws {
    temporary = try TemporaryStore()
    let folder = try temporary.store.folder(uuid: old, create: true)
    for epoch in 1...3 { try publish(epoch, in: folder, at: Int64(epoch)) }
  }

  private func publish(_ epoch: Int, in folder: GuestFolder, at milliseconds: Int64) throws {
    _ = try folder.create(epoch: epoch, reserving: 0).publish(
      EpochManifest(
        guest: "web", uuid: folder.uuid, epoch: epoch, time: EpochTime(milliseconds: milliseconds), kind: .pvh,
        vcpus: 1, memoryBytes: 1 << 20))
  }

  @Test("An epoch that the one does not have may be the other's, and that is said")
  func noSuchEpoch() throws {
    try publish(1, in: temporary.folder, at: 10)
    let engine = Engine(storePath: temporary.path)
    let error = CheckpointError.noSuchEpoch(
      guest: "web",
      "has no epoch 3; it has 1; the store has epochs of 'web' under another uuid as well: \(old); for those say the "
        + "uuid in place of the name")
    #expect(throws: error) { try engine.show("web", epoch: .number(3)) }
    #expect(throws: error) { try engine.removePlan("web", epochs: [.number(3)], force: false) }
    #expect(try engine.show(old, epoch: .number(3)).manifest.uuid == old)
    // A name of its own is no hint.
    _ = try engine.rename(old, to: "web-old")
    #expect(throws: CheckpointError.noSuchEpoch(guest: "web", "has no epoch 3; it has 1")) {
      try engine.show("web", epoch: .number(3))
    }
  }

  @Test("A guest's first take tells of the other, once")
  func take() throws {
    func notes() throws -> [String] {
      let guest = ScriptedGuest(pages: [1: page(1)], journal: journal)
      var options = TakeOptions()
      options.stagingBytes = 64 * 4096
      let take = Take(guest, disks: ScriptedDisks(journal: journal), into: temporary.folder, options: options)
      return try #require(take.run().statistics).notes.filter { $0.contains("another uuid") }
    }
    let first = try notes()
    #expect(first.count == 1 && first[0].contains("uuid = \"\(temporary.folder.uuid)\", or uuid = \"\(old)\""))
    #expect(try notes() == [])
  }

  @Test("Whoever has a guest's name is told of with its uuid, its epochs, and what to write")
  func nameTaken() throws {
    #expect(Namesakes.have(old, "web", besides: temporary.folder))
    #expect(!Namesakes.have(old, "db", besides: temporary.folder))
    let uuid = temporary.folder.uuid
    let error = CheckpointError.nameTaken(guest: "web", domain: 5, uuid: old, hasEpochs: true, restored: uuid)
    #expect(
      error.description
        == "domain 5 is another guest named 'web', of uuid \(old) (its epochs: ckpt list \(old)); rename "
        + "or destroy it first; nothing was changed; if it is the same guest, which xl create gave a new uuid, write "
        + "into its xl configuration: uuid = \"\(uuid)\"")
    let clone = CheckpointError.nameTaken(guest: "web", domain: 5, uuid: old, hasEpochs: false, restored: nil)
    #expect(
      clone.description == "domain 5 is another guest named 'web', of uuid \(old); rename or destroy it first; "
        + "nothing was changed")
  }

  @Test("Several are told of, the newest first")
  func several() throws {
    let third = try temporary.store.folder(uuid: "33333333-2222-3333-4444-555555555555", create: true)
    try publish(1, in: third, at: 100)
    let others = try #require(Namesakes(of: "web", besides: temporary.folder))
    #expect(others.uuids == [third.uuid, old])
    #expect(others.description.hasSuffix("under other uuids as well: \(third.uuid), \(old)"))
    #expect(Namesakes(of: "db", besides: temporary.folder) == nil)
  }
}
