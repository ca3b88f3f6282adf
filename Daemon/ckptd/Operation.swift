import Checkpoint
import ControlAPI
import Dispatch
import EpochStore
import Synchronization

/// One piece of work of the daemon, from its begin to its end.
final class Operation: Sendable {
  let id: String
  let kind: String
  let guest: String?
  /// Who asked.
  let origin: String
  let cancellation = TakeCancellation()
  private let started = EpochTime.now
  private let state = Mutex(State())
  private let answered = DispatchSemaphore(value: 0)

  private struct State {
    var phase: String?
    var isCancelled = false
    var isAsking = false
    var answer: Bool?
  }

  init(id: String, kind: String, guest: String?, origin: String) {
    (self.id, self.kind, self.guest, self.origin) = (id, kind, guest, origin)
  }

  var status: OperationStatus {
    state.withLock {
      OperationStatus(
        id: id, kind: kind, guest: guest, by: origin, started: started, phase: $0.phase, isCancelled: $0.isCancelled)
    }
  }

  /// As people read it: `take of web`.
  var title: String { guest.map { "\(kind) of \($0)" } ?? kind }

  func note(_ event: ControlEvent) {
    switch event {
    case .phase(let phase), .step(let phase): state.withLock { $0.phase = phase }
    default: break
    }
  }

  /// Gives the work up, wherever it is; a restore that has begun to destroy goes on.
  func cancel() {
    cancellation.cancel()
    stopAsking()
  }

  /// Gives the work up, unless it is a take that has come to its pause.
  func cancelBeforePause() {
    cancellation.cancelBeforePause()
    stopAsking()
  }

  private func stopAsking() {
    state.withLock { $0.isCancelled = true }
    answer(false)
  }

  // MARK: the question

  /// Waits for an answer.
  ///
  /// - Parameter seconds: within which it must come, else it is no.
  /// - Throws: ``CheckpointError/interrupted`` when it is no, or when the operation is given up; `ControlFailure` when none came.
  func ask(seconds: Double = Call.answerSeconds) throws {
    let isKnown = state.withLock { state in
      state.isAsking = true
      return state.answer != nil
    }
    if !isKnown, answered.wait(timeout: .now() + seconds) == .timedOut, answer(false) {
      throw ControlFailure(
        message: "nobody answered within \(Int(seconds)) s, which is a no; nothing was changed", status: .interrupted)
    }
    guard state.withLock({ $0.answer == true && !$0.isCancelled }) else { throw CheckpointError.interrupted }
  }

  /// - Returns: false when nothing was asked, or it was answered before.
  @discardableResult
  func answer(_ yes: Bool) -> Bool {
    let isFirst = state.withLock { state in
      guard state.isAsking || !yes, state.answer == nil else { return false }
      state.answer = yes
      return true
    }
    if isFirst { answered.signal() }
    return isFirst
  }
}
