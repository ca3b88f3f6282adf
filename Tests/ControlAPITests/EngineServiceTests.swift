import Checkpoint
import EpochStore
import Foundation
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

  @Test("Verdicts go through JSON whole")
  func verdicts() throws {
    let store = try Store()
    let told = try store.service.verify(VerifyRequest(guest: "web", epoch: nil, full: true), Call())
    let received = try ControlJSON.decode([VerifiedAnswer].self, from: ControlJSON.encode(told))
    #expect(received.map(\.epoch) == [1, 2, 3] && received.allSatisfy { $0.isSound && $0.error == nil })
    #expect(received.map(\.verdict) == told.map(\.verdict))
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
