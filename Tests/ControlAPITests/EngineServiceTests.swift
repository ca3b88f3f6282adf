import Checkpoint
import EpochStore
import Foundation
import Synchronization
import Testing

@testable import ControlAPI

private let uuid = "11111111-2222-3333-4444-555555555555"

/// The engine behind the API, on a store with three epochs of `web`; no Xen.
@Suite("The engine as the API sees it")
struct EngineServiceTests {
  private final class Store {
    let path = FileManager.default.temporaryDirectory.path + "/ckpt-api-\(UInt64.random(in: 0...UInt64.max))"
    var service: EngineService { EngineService(Engine(storePath: path)) }
    var folder: GuestFolder { get throws { try EpochStore(path: path).folder(uuid: uuid, create: true) } }

    init() throws {
      for epoch in 1...3 {
        let writer = try folder.create(epoch: epoch, reserving: 0)
        try writer.append(record: 1, [1, 2, 3])
        _ = try writer.publish(
          EpochManifest(guest: "web", uuid: uuid, epoch: epoch, kind: .pvh, vcpus: 1, memoryBytes: 1 << 28))
      }
    }
    deinit { try? FileManager.default.removeItem(atPath: path) }
  }

  private func last(_ count: Int) -> RetentionPolicy {
    var keep = RetentionPolicy()
    keep.last = count
    return keep
  }

  @Test("A plan shows what would go, and nothing goes")
  func plan() throws {
    let store = try Store()
    let plans = try store.service.planPrune(PrunePlanRequest(guest: "web", keep: last(1)), Call())
    #expect(plans.map(\.report.removed) == [[1, 2]] && plans[0].report.dryRun && plans[0].warnings.isEmpty)
    #expect(try store.folder.epochs().allNumbers == [1, 2, 3])
  }

  @Test("Nothing goes that nobody agreed to")
  func agreed() throws {
    let store = try Store()
    let none = try store.service.prune(PruneRequest(guest: "web", keep: last(1), agreed: [:]), Call())
    #expect(none.reports.map(\.removed) == [[]])
    // One that the policy keeps stays, whatever was agreed to.
    let some = try store.service.prune(PruneRequest(guest: "web", keep: last(1), agreed: [uuid: [2, 3]]), Call())
    #expect(some.reports.map(\.removed) == [[2]] && some.failures.isEmpty)
    #expect(try store.folder.epochs().allNumbers == [1, 3])
    _ = try store.service.prune(PruneRequest(guest: "web", keep: last(1)), Call())
    #expect(try store.folder.epochs().allNumbers == [3])
  }

  @Test("A guest that is busy keeps its epochs, and the answer says so with its status")
  func busy() throws {
    let store = try Store()
    let lock = try store.folder.lock(.exclusive)
    let answer = try store.service.prune(PruneRequest(guest: "web", keep: last(1)), Call())
    withExtendedLifetime(lock) {}
    #expect(answer.reports.isEmpty && answer.failures.map(\.guest) == ["web"])
    #expect(answer.failures.map(\.error.exitStatus) == [.locked])
  }

  @Test("Work that was told to stop does not begin another epoch, or guest")
  func cancelled() throws {
    let store = try Store()
    let call = Call()
    call.cancellation.cancel()
    #expect(throws: CheckpointError.interrupted) {
      try store.service.verify(VerifyRequest(guest: "web", epoch: nil), call)
    }
    #expect(throws: CheckpointError.interrupted) {
      try store.service.prune(PruneRequest(guest: nil, keep: last(1)), call)
    }
    #expect(try store.folder.epochs().allNumbers == [1, 2, 3])
  }

  @Test("A prune that is told to stop between guests tells what it did")
  func cancelledBetweenGuests() throws {
    let store = try Store()
    let other = try EpochStore(path: store.path).folder(uuid: "22222222-2222-3333-4444-555555555555", create: true)
    for epoch in 1...2 {
      let writer = try other.create(epoch: epoch, reserving: 0)
      _ = try writer.publish(
        EpochManifest(guest: "zoo", uuid: other.uuid, epoch: epoch, kind: .pvh, vcpus: 1, memoryBytes: 1 << 28))
    }
    let cancellation = TakeCancellation()
    let call = Call(cancellation: cancellation, report: { if case .pruned = $0 { cancellation.cancel() } })
    let answer = try store.service.prune(PruneRequest(guest: nil, keep: last(1)), call)
    #expect(answer.reports.count == 1 && answer.failures.count == 1)
    #expect(answer.failures.first?.error.exitStatus == .interrupted)
    let left = try store.folder.epochs().allNumbers.count + other.epochs().allNumbers.count
    #expect(left == 5 - answer.reports[0].removed.count && answer.reports[0].guest != answer.failures[0].guest)
  }

  @Test("A verification that is told to stop does not read its epoch to the end")
  func cancelledWhileReading() throws {
    let store = try Store()
    let writer = try store.folder.create(epoch: 4, reserving: 0)
    // More pieces than any number of threads has under way.
    for _ in 0..<16 { try writer.append(record: 1, [UInt8](repeating: 7, count: 5 << 19)) }
    _ = try writer.publish(
      EpochManifest(guest: "web", uuid: uuid, epoch: 4, kind: .pvh, vcpus: 1, memoryBytes: 1 << 28))
    let cancellation = TakeCancellation()
    let call = Call(cancellation: cancellation, report: { if case .reading = $0 { cancellation.cancel() } })
    #expect(throws: CheckpointError.interrupted) {
      try store.service.verify(VerifyRequest(guest: "web", epoch: 4, full: true), call)
    }
    #expect(try store.folder.verdict(4) == nil)
  }

  @Test("Pools and store are settled without Xen")
  func settle() throws {
    let store = try Store()
    let partial = try store.folder.path + "/00000004.epoch.partial"
    try Data([1]).write(to: URL(fileURLWithPath: partial))
    let request = try ControlJSON.decode(RecoverRequest.self, from: Data(#"{"store_only": true}"#.utf8))
    let answer = try store.service.recover(request, Call())
    #expect(answer.swept == ["web: 00000004.epoch.partial was never published, it is removed"])
    #expect(answer.failures == [] && !FileManager.default.fileExists(atPath: partial))
    #expect(try store.folder.epochs().allNumbers == [1, 2, 3])
  }

  @Test("Where nobody was asked, nobody waits: room is given back a part at a time")
  func budget() {
    #expect(PruneRequest(guest: "web", keep: last(1)).budget == 1 << 30)
    #expect(PruneRequest(guest: "web", keep: last(1), agreed: [:]).budget == .max)
  }

  @Test("Verdicts go through JSON whole")
  func verdicts() throws {
    let store = try Store()
    let told = try store.service.verify(VerifyRequest(guest: "web", epoch: nil, full: true), Call())
    let received = try ControlJSON.decode([VerifiedAnswer].self, from: ControlJSON.encode(told))
    #expect(received.map(\.epoch) == [1, 2, 3] && received.allSatisfy { $0.isSound && $0.error == nil })
    #expect(received.map(\.verdict) == told.map(\.verdict))
  }

  @Test("Marks are changed one by one, by any name of the epoch")
  func marks() throws {
    let store = try Store()
    func mark(_ epoch: EpochReference, _ change: (inout MarkRequest) -> Void) throws -> MarkAnswer {
      var request = MarkRequest(guest: "web", epoch: epoch)
      change(&request)
      return try store.service.mark(request, Call())
    }
    #expect(try mark(.latest) { $0.tag = ["a", "b"] }.epoch == 3)
    #expect(try mark(.tag("b")) { $0.note = "n" }.tags == ["a", "b"])
    #expect(try mark(3) { $0.pin = true }.note == "n")
    let last = try mark(.newest(1)) { ($0.untag, $0.note) = (["a"], "") }
    #expect((last.pinned, last.tags, last.note) == (true, ["b"], nil))
    #expect(throws: CheckpointError.noSuchEpoch(guest: "web", "has no epoch tagged 'a'; its tags are b")) {
      try mark(.tag("a")) { $0.pin = false }
    }
  }

  @Test("What would be removed is told, and nothing goes before")
  func remove() throws {
    let store = try Store()
    let plan = try store.service.remove(
      RemoveRequest(guest: "web", epochs: [.latest, 1, .newest(3)], dryRun: true), Call())
    #expect(plan.dryRun && plan.removed == [1, 3])
    #expect(try store.folder.epochs().allNumbers == [1, 2, 3])
    let removed = try store.service.remove(RemoveRequest(guest: uuid, epochs: [1, 3]), Call())
    #expect(!removed.dryRun && removed.removed == [1, 3] && removed.guest == "web")
    #expect(try store.folder.epochs().allNumbers == [2])
  }

  @Test(
    "All epochs of a guest go, those that somebody agreed to, and then what the store knows of it",
    .enabled(if: !FileManager.default.fileExists(atPath: "/dev/xen/privcmd")))
  func removeAll() throws {
    let store = try Store()
    let memories = ResidentMemories(store: store.path)
    _ = try memories.borrow(uuid)
    memories.giveBack(uuid)
    func remove(_ request: RemoveRequest, scheduled: Set<String> = []) throws -> RemoveAnswer {
      try EngineService(Engine(storePath: store.path), memories: memories, scheduled: { scheduled })
        .remove(request, Call())
    }
    let plan = try remove(RemoveRequest(guest: "web", all: true, dryRun: true))
    #expect(plan.dryRun && plan.removed == [1, 2, 3] && plan.folderRemoved == nil)
    #expect(try store.folder.epochs().allNumbers == [1, 2, 3] && memories.count == 1)

    let some = try remove(RemoveRequest(guest: "web", all: true, agreed: [1, 2]))
    #expect(some.removed == [1, 2] && some.folderRemoved == false)
    #expect(some.notes.first?.hasSuffix(": 3") == true)
    // Its hashes would be for nobody.
    #expect(memories.count == 0)

    let kept = try remove(RemoveRequest(guest: "web", all: true), scheduled: ["web"])
    #expect(kept.removed == [3] && kept.folderRemoved == false)
    #expect(kept.notes.first == "it has a schedule: ckpt schedule remove web")
    #expect(kept.notes.last?.hasSuffix("ckpt remove \(uuid) --all") == true)

    let last = try remove(RemoveRequest(guest: uuid, all: true, agreed: []))
    #expect(last.removed == [] && last.folderRemoved == true && last.notes == [])
    #expect(!FileManager.default.fileExists(atPath: store.path + "/" + uuid))
  }

  @Test("A folder that cannot be read is told of when all guests are pruned, and keeps nothing of another")
  func unreadableFolder() throws {
    let store = try Store()
    let bad = "22222222-2222-3333-4444-555555555555"
    // A file in a folder's place cannot be listed, by root neither.
    _ = FileManager.default.createFile(atPath: store.path + "/" + bad, contents: nil)
    let plans = try store.service.planPrune(PrunePlanRequest(guest: nil, keep: last(1)), Call())
    #expect(plans.map(\.report.removed) == [[1, 2], []] && plans[1].warnings.count == 1)
    let answer = try store.service.prune(PruneRequest(guest: nil, keep: last(1)), Call())
    #expect(answer.reports.map(\.removed) == [[1, 2]] && answer.failures.map(\.guest) == [bad])
    #expect(try store.service.prune(PruneRequest(guest: "web", keep: last(1)), Call()).failures == [])
  }

  @Test("A take's own wishes go before what is configured, its policy for making room among them")
  func wishes() throws {
    var configured = TakeOptions()
    (configured.retention, configured.mostPauseSeconds, configured.bytesPerSecond) = (last(9), 9, 9)
    #expect(TakeRequest(guest: "web").applied(to: configured) == configured)
    let request = TakeRequest(guest: "web", limitRate: 1, timeoutSeconds: 2, maxPauseSeconds: 3, keep: last(4))
    let sent = try ControlJSON.decode(TakeRequest.self, from: ControlJSON.encode(request))
    let options = sent.applied(to: configured)
    #expect(options.retention == last(4) && options.mostPauseSeconds == 3)
    #expect(options.bytesPerSecond == 1 && options.timeoutSeconds == 2)
  }

  @Test(
    "Takes of a guest that is gone are counted, of one that nobody knows they are not",
    .enabled(if: !FileManager.default.fileExists(atPath: "/dev/xen/privcmd")))
  func absent() throws {
    let (store, counted) = (try Store(), Counted())
    let engine = Engine(storePath: store.path, awaited: AwaitedGuests { $0 == "mail" })
    let service = EngineService(engine, observer: counted)
    for guest in ["web", uuid, "mail", "wbe", "7"] {
      #expect(throws: (any Error).self) { try service.take(TakeRequest(guest: guest), Call()) }
    }
    #expect(counted.failures.withLock { $0 } == ["web: failed probe", "web: failed probe", "mail: failed probe"])
    #expect(try store.folder.streak.failures == 2)
  }

  @Test("A guest's memory is for one take at a time, and is let go when its domain is gone")
  func memories() throws {
    let memories = ResidentMemories(store: "/store")
    let first = try memories.borrow(uuid)
    #expect(throws: StoreError.locked(path: "/store/\(uuid)/lock", pid: getpid())) { try memories.borrow(uuid) }
    memories.forget(uuid)
    memories.giveBack(uuid)
    #expect(try memories.borrow(uuid) === first)
    memories.giveBack(uuid)
    memories.keepOnly([])
    #expect(memories.count == 1)
    memories.forget(uuid)
    #expect(memories.count == 0)
    #expect(try memories.borrow(uuid) !== first)
  }
}

private final class Counted: TakeObserver {
  let failures = Mutex<[String]>([])

  func observe(_ event: TakeEvent, of guest: String) {
    guard case .failed(let failure) = event else { return }
    failures.withLock { $0.append("\(guest): \(failure.kind) \(failure.phase)") }
  }
  func observe(_ manifest: EpochManifest) {}
}
