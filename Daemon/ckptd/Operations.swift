import Checkpoint
import ControlAPI
import Dispatch
import EpochStore
import Logging
import ServiceLifecycle
import Synchronization

/// All work of the daemon: each piece on a thread of its own, none begun once the daemon ends.
///
/// Whoever wants something done, a client or a schedule, comes through ``begin(_:by:)``.
final class Operations: Service {
  private let service: any ControlService
  private let logger: Logger
  /// Called at the end of each, before its asker hears of it.
  private let whenEnded: @Sendable () -> Void
  private let state = Mutex(State())

  private struct State {
    var running: [String: Operation] = [:]
    var last = 0
    var isEnding = false
    /// Called when nothing runs any more.
    var whenIdle: CheckedContinuation<Void, Never>?
  }

  init(_ service: any ControlService, logger: Logger, whenEnded: @escaping @Sendable () -> Void = {}) {
    self.service = service
    self.logger = logger
    self.whenEnded = whenEnded
  }

  /// By age.
  var running: [Operation] { state.withLock { $0.running.values.sorted { Int($0.id)! < Int($1.id)! } } }
  var isEnding: Bool { state.withLock { $0.isEnding } }

  func find(_ id: String) -> Operation? { state.withLock { $0.running[id] } }

  /// Begins what is asked for.
  ///
  /// - Parameter origin: who asks, as the log and ``OperationStatus`` tell it.
  /// - Returns: the operation, and what it tells: the last line is the result or the failure.
  /// - Throws: ``ControlFailure`` for a bad request, or when the daemon ends.
  func begin<Request: ControlRequest>(
    _ request: Request, by origin: String
  ) throws -> (operation: Operation, lines: AsyncStream<ControlLine<Request.Answer>>) {
    if let fault = request.anyFault { throw ControlFailure(message: fault, status: .badConfiguration) }
    let kind = Request.path.rawValue.split(separator: "/").dropFirst().joined(separator: " ")
    let operation = try state.withLock { state in
      guard !state.isEnding else { throw ControlFailure.ending }
      state.last += 1
      let operation = Operation(id: String(state.last), kind: kind, guest: request.target, origin: origin)
      state.running[operation.id] = operation
      return operation
    }
    let (lines, told) = AsyncStream<ControlLine<Request.Answer>>.makeStream()
    told.yield(.event(.started(operation: operation.id)))
    DispatchQueue(label: operation.title, qos: .userInitiated).async { [self] in
      let result = perform(request, operation) { told.yield(.event($0)) }
      // The list must not show what its asker was told is over.
      end(operation)
      told.yield(result)
      told.finish()
    }
    return (operation, lines)
  }

  /// Does it, and waits for the outcome, though the caller's task be cancelled: the work goes on all the same.
  func run<Request: ControlRequest>(_ request: Request, by origin: String) async throws -> Request.Answer {
    let lines = try begin(request, by: origin).lines
    // A task of its own, which nobody cancels: a cancelled one hears no more lines.
    return try await Task {
      for await line in lines {
        switch line {
        case .result(let answer): return answer
        case .failure(let failure): throw failure
        case .event, .unknown: continue
        }
      }
      throw CheckpointError.interrupted
    }.value
  }

  private func perform<Request: ControlRequest>(
    _ request: Request, _ operation: Operation, tell: @escaping @Sendable (ControlEvent) -> Void
  ) -> ControlLine<Request.Answer> {
    let pace = Pace()
    let call = Call(
      cancellation: operation.cancellation,
      report: { [logger] event in
        operation.note(event)
        if case .note(let text) = event { logger.warning("\(operation.title): \(text)") }
        if pace.admits(event) { tell(event) }
      },
      confirm: { question in
        tell(.confirm(question))
        try operation.ask()
      })
    do {
      let answer = try request.perform(by: service, call)
      logger.notice("\(operation.title) (\(operation.origin)): \(Outcome.text(of: answer))")
      return .result(answer)
    } catch {
      logger.error("\(operation.title) (\(operation.origin)): \(error)")
      return .failure(ControlFailure(error))
    }
  }

  private func end(_ operation: Operation) {
    whenEnded()
    let waiting = state.withLock { state in
      state.running[operation.id] = nil
      guard state.running.isEmpty else { return nil as CheckedContinuation<Void, Never>? }
      defer { state.whenIdle = nil }
      return state.whenIdle
    }
    waiting?.resume()
  }

  // MARK: Service

  func run() async throws {
    try? await gracefulShutdown()
    await drain()
  }

  /// Begins nothing new and gives up what can be given up; takes in or past their pause go on.
  func giveUp() {
    let left = state.withLock { state in
      guard !state.isEnding else { return [] as [Operation] }
      state.isEnding = true
      return Array(state.running.values)
    }
    for operation in left {
      logger.notice("\(operation.title): ckptd ends; a take in its pause or past it is finished, all else is given up")
      operation.cancelBeforePause()
    }
  }

  /// Gives up, and waits for what goes on.
  func drain() async {
    giveUp()
    await withCheckedContinuation { done in
      let isIdle = state.withLock { state in
        if !state.running.isEmpty { state.whenIdle = done }
        return state.running.isEmpty
      }
      if isIdle { done.resume() }
    }
  }
}

extension ControlFailure {
  /// What is asked for comes too late.
  static let ending = ControlFailure(message: "ckptd is ending; try again when it was started anew", status: .failed)
}

/// Lets a verification tell how far it is a few times a second, however quick it reads.
private final class Pace: Sendable {
  private let last = Mutex(ContinuousClock.now - .seconds(1))

  func admits(_ event: ControlEvent) -> Bool {
    guard case .reading = event else { return true }
    return last.withLock { last in
      guard ContinuousClock.now - last >= .milliseconds(200) else { return false }
      last = .now
      return true
    }
  }
}
