import Checkpoint
import ControlAPI
import EpochStore
import Foundation
import Synchronization

/// An engine that does what the test says.
final class ScriptedService: ControlService {
  private let script: @Sendable (TakeRequest, Call) throws -> Void
  let recovery: @Sendable (RecoverRequest) throws -> RecoverAnswer
  /// The steps of the restore that were done.
  let restored = Mutex<[String]>([])
  /// The guests that were pruned.
  let pruned = Mutex<[String]>([])
  /// How long a verification reads; ends when it is told to stop.
  let verification: @Sendable (Call) throws -> Void

  init(
    _ take: @escaping @Sendable (TakeRequest, Call) throws -> Void = { _, _ in },
    recovery: @escaping @Sendable (RecoverRequest) throws -> RecoverAnswer = { _ in
      RecoverAnswer(devices: [], guests: [], logs: [], swept: [], failures: [])
    },
    verification: @escaping @Sendable (Call) throws -> Void = { _ in }
  ) {
    script = take
    self.recovery = recovery
    self.verification = verification
  }

  static func manifest(_ guest: String) -> EpochManifest {
    EpochManifest(
      guest: guest, uuid: "11111111-2222-3333-4444-555555555555", epoch: 7,
      time: EpochTime(milliseconds: 1_700_000_000_000), kind: .pvh, vcpus: 1, memoryBytes: 1 << 28,
      pauseMs: 12.5, stopMs: 3.5)
  }

  func take(_ request: TakeRequest, _ call: Call) throws -> EpochManifest {
    try script(request, call)
    return Self.manifest(request.guest)
  }

  func restore(_ request: RestoreRequest, _ call: Call) throws -> RestoreAnswer {
    guard case .number(let epoch) = request.epoch else {
      throw CheckpointError.noSuchEpoch(guest: request.guest, "has no epoch called \(request.epoch)")
    }
    call.report(.step("verify"))
    let plan = RestorePlan(
      guest: request.guest, epoch: epoch, time: .now, domain: 5, clone: request.clone,
      takesSafetyEpoch: request.safety != false)
    if request.yes != true { try call.confirm(plan) }
    try call.mayGoOn()
    restored.withLock { $0.append("destroy") }
    return RestoreAnswer(
      guest: request.guest, uuid: "u", epoch: epoch, domain: 6, steps: [.init(name: "destroy", ms: 1)], plan: plan)
  }

  func undo(_ request: UndoRequest, _ call: Call) throws -> RestoreAnswer {
    throw CheckpointError.nothingToUndo(guest: request.guest, "it was never brought back to an epoch")
  }

  func recover(_ request: RecoverRequest, _ call: Call) throws -> RecoverAnswer { try recovery(request) }

  func verify(_ request: VerifyRequest, _ call: Call) throws -> [VerifiedAnswer] {
    try verification(call)
    return [VerifiedAnswer(guest: "web", uuid: "u", epoch: 1, verdict: nil, error: "not read")]
  }

  func planPrune(_ request: PrunePlanRequest, _ call: Call) throws -> [PrunePlanAnswer] { [] }
  func prune(_ request: PruneRequest, _ call: Call) throws -> PruneAnswer {
    pruned.withLock { $0.append(request.guest ?? "all") }
    return PruneAnswer(reports: [], failures: [])
  }
  func mark(_ request: MarkRequest, _ call: Call) throws -> MarkAnswer {
    guard request.epoch == 1 || request.epoch == .latest else {
      throw CheckpointError.noSuchEpoch(guest: request.guest, "has no epoch \(request.epoch); it has 1")
    }
    return MarkAnswer(epoch: 1, try EpochMarks(pinned: request.pin ?? false, tags: request.tag ?? []))
  }
  func rename(_ request: RenameRequest, _ call: Call) throws -> RenameAnswer {
    RenameAnswer(uuid: "u", old: request.guest, name: request.name)
  }
  func remove(_ request: RemoveRequest, _ call: Call) throws -> RemoveAnswer {
    throw CheckpointError.pinned(guest: request.guest, epochs: [1])
  }
}

/// A gate at which a script waits until the test opens it.
final class Gate: Sendable {
  private let opened = DispatchSemaphore(value: 0)
  private let reached = DispatchSemaphore(value: 0)

  /// Called by the script: it is here, and waits.
  func pass() {
    reached.signal()
    opened.wait()
    opened.signal()
  }
  func open() { opened.signal() }
  /// Waits until the script has come to the gate.
  func awaitReached() async {
    await withCheckedContinuation { done in
      DispatchQueue.global().async { [reached] in
        reached.wait()
        done.resume()
      }
    }
  }
}

/// Waits, without end, for what a test expects to become true.
func until(_ condition: @escaping @Sendable () -> Bool) async throws {
  while try await !blocking(condition) { try await Task.sleep(for: .milliseconds(5)) }
}
