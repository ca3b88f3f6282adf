import EpochStore
import Foundation
import Glibc
import Testing

@testable import Checkpoint

@Suite("The status, and what is done for all guests")
struct StatusTests {
  private let temporary: TemporaryStore
  private let bad = "22222222-2222-3333-4444-555555555555"
  private var engine: Engine { Engine(storePath: temporary.path) }
  private var unreadable: UnreadableFolder {
    let path = temporary.path + "/" + bad
    return UnreadableFolder(
      uuid: bad, path: path, error: .system(operation: "list", path: path, errno: ENOTDIR))
  }

  init() throws {
    temporary = try TemporaryStore()
    _ = try temporary.folder.create(epoch: 1, reserving: 0).publish(
      EpochManifest(
        guest: "web", uuid: temporary.folder.uuid, epoch: 1, kind: .pvh, vcpus: 1, memoryBytes: 1 << 20))
    // A file in a folder's place cannot be listed, by root neither.
    _ = FileManager.default.createFile(atPath: temporary.path + "/" + bad, contents: nil)
  }

  @Test("tells of a folder that cannot be read, and of all others")
  func unreadableFolder() throws {
    let status = try engine.status()
    #expect(status.unreadable == [unreadable])
    #expect(status.unknown.contains("\(unreadable.error)"))
    let web = try #require(status.guests.first { $0.uuid == temporary.folder.uuid })
    #expect(web.name == "web" && web.epochs == 1 && web.newest?.epoch == 1 && web.leftovers == 0)
    #expect(try web.bytes == temporary.folder.diskBytes() && web.bytes > 0 && status.store.used == web.bytes)
    #expect(!status.guests.contains { $0.uuid == bad })
  }

  @Test("calls a guest that runs and has no epoch by its name in Xen, with what is configured for that")
  func names() throws {
    var status = HostStatus(
      host: "h", store: .init(path: "/s", used: 0, fileSystem: FileSystemSpace(total: 1, free: 1)))
    status.guests = try [HostStatus.Guest(temporary.folder)]
    let empty = try temporary.store.folder(uuid: "33333333-2222-3333-4444-555555555555", create: true)
    status.guests.append(try HostStatus.Guest(empty))
    #expect(status.guests[1].name == empty.uuid)
    status.unreadable = [unreadable]
    // The store calls it otherwise than Xen.
    status.add(running: 5, uuid: temporary.folder.uuid, name: "web-new", isHeld: false)
    status.add(running: 6, uuid: empty.uuid, name: "db", isHeld: true)
    status.add(running: 7, uuid: bad, name: "mail", isHeld: false)
    status.add(running: 8, uuid: "u", name: "dns", isHeld: false)
    #expect(status.guests.map(\.name) == ["web", "db", "mail", "dns"])
    #expect(status.guests.map(\.domain) == [5, 6, 7, 8])
    #expect(status.guests.map(\.isHeld) == [false, true, false, false])
    #expect(status.guests.map(\.isUnreadable) == [false, false, true, false])
  }

  @Test("does not take what is left of a guest's domain for a guest that runs")
  func ended() throws {
    var status = HostStatus(
      host: "h", store: .init(path: "/s", used: 0, fileSystem: FileSystemSpace(total: 1, free: 1)))
    status.xen = "4.17"
    status.guests = try [HostStatus.Guest(temporary.folder)]
    status.guests[0].unfinished = UnfinishedRestore(guest: "web", epoch: 1, canBeUndone: false)
    let uuid = temporary.folder.uuid
    status.add(running: 5, uuid: uuid, name: "web", isHeld: false, isEnded: true)
    #expect(status.guests[0].domain == 5 && status.guests[0].isEnded && status.unfinished.count == 1)
    status.add(running: 7, uuid: uuid, name: "web", isHeld: false)
    status.add(running: 8, uuid: uuid, name: "web", isHeld: false, isEnded: true)
    #expect(status.guests[0].domain == 7 && !status.guests[0].isEnded && status.unfinished.isEmpty)
  }

  @Test("A folder that cannot be read keeps no other guest from being found, listed, renamed, pruned and verified")
  func others() throws {
    #expect(try engine.show("web", epoch: 1).manifest.epoch == 1)
    #expect(throws: unreadable.error) { try engine.show("wbe", epoch: 1) }
    var told: [UnreadableFolder] = []
    let overviews = try engine.overview(nil) { told.append($0) }
    let lists = try engine.list(nil) { told.append($0) }
    #expect(overviews.map(\.name) == ["web"] && lists.map(\.allNumbers) == [[1]])
    #expect(told == [unreadable, unreadable])
    let web = try engine.overview("web") { told.append($0) }
    #expect(web.count == 1 && told.count == 2)
    #expect(try engine.prunePlans(nil, PruneHouse.last(1)).map(\.guest) == ["web"])
    #expect(try engine.unreadableFolders() == [unreadable])
    #expect(try engine.rename("web", to: "web-old").old == "web")
    let failures = engine.settle(nil).failures
    #expect(failures.count == 1 && failures[0].hasPrefix("\(bad): "))
    let journal = Journal()
    #expect(throws: unreadable.error) {
      try engine.verify(nil, epoch: nil, method: .quick) { event in
        if case .verified(let epoch) = event { journal.note("\(epoch.guest) \(epoch.epoch) \(epoch.isSound)") }
      }
    }
    #expect(journal.events == ["web-old 1 true"])
  }
}
