import Checkpoint
import ControlAPI
import Dispatch
import EpochStore
import Glibc
import Synchronization

/// The daemon, as the command asks it: one connection for each request.
struct DaemonClient: ControlService {
  let socket: String
  /// What the user said, which the daemon must be able to meet.
  let expects: Expectation

  /// - Parameter patience: seconds to wait for the answer.
  func status(patience: Double = .infinity) throws -> DaemonStatus {
    try value(try DaemonConnection(socket, patience: patience).ask("GET", ControlPath.status.rawValue))
  }

  /// - Parameter patience: seconds to wait for the answer.
  func reload(patience: Double = .infinity) throws -> ReloadAnswer {
    try value(try DaemonConnection(socket, patience: patience).ask("POST", ControlPath.reload.rawValue))
  }

  /// - Parameter patience: seconds to wait for the answer.
  func reloadSchedules(patience: Double) throws -> DaemonStatus {
    try value(try DaemonConnection(socket, patience: patience).ask("POST", ControlPath.reloadSchedules.rawValue))
  }

  // A take goes on when this process is killed; of a restore, a verification or a prune somebody must see the end.
  func take(_ request: TakeRequest, _ call: Call) throws -> EpochManifest { try follow(request, call) }
  func restore(_ request: RestoreRequest, _ call: Call) throws -> RestoreAnswer {
    try follow(request, call, leashed: true)
  }
  func undo(_ request: UndoRequest, _ call: Call) throws -> RestoreAnswer { try follow(request, call, leashed: true) }
  func recover(_ request: RecoverRequest, _ call: Call) throws -> RecoverAnswer { try follow(request, call) }
  func verify(_ request: VerifyRequest, _ call: Call) throws -> [VerifiedAnswer] {
    try follow(request, call, leashed: true)
  }
  func planPrune(_ request: PrunePlanRequest, _ call: Call) throws -> [PrunePlanAnswer] { try ask(request) }
  func prune(_ request: PruneRequest, _ call: Call) throws -> PruneAnswer { try follow(request, call, leashed: true) }
  func mark(_ request: MarkRequest, _ call: Call) throws -> MarkAnswer { try ask(request) }
  func rename(_ request: RenameRequest, _ call: Call) throws -> RenameAnswer { try ask(request) }
  func remove(_ request: RemoveRequest, _ call: Call) throws -> RemoveAnswer { try follow(request, call) }

  // MARK: asking

  /// - Parameter leashed: the work is given up when this process goes away.
  private func begin<Request: ControlRequest>(_ request: Request, leashed: Bool) throws -> DaemonConnection.Reply {
    let asked = AskedRequest(request, expects: expects, cancelOnDisconnect: leashed ? true : nil)
    return try DaemonConnection(socket).ask("POST", Request.path.rawValue, ControlJSON.encode(asked))
  }

  private func ask<Request: ControlRequest>(_ request: Request) throws -> Request.Answer {
    try value(try begin(request, leashed: false))
  }

  private func value<Value: Decodable>(_ reply: DaemonConnection.Reply) throws -> Value {
    try ControlJSON.decode(Value.self, from: try reply.checked().line() ?? [])
  }

  /// Reads the lines as they come, to the last one.
  private func follow<Request: ControlRequest>(
    _ request: Request, _ call: Call, leashed: Bool = false
  ) throws -> Request.Answer {
    let signals = ForwardedSignals(socket)
    defer { signals.end() }
    let reply = try begin(request, leashed: leashed).checked()
    while let bytes = try reply.line() {
      switch try ControlJSON.decode(ControlLine<Request.Answer>.self, from: bytes) {
      case .result(let answer): return answer
      case .failure(let failure): throw failure
      case .event(.started(let operation)): signals.follow(operation)
      case .event(.confirm(let question)):
        try answer(question, signals, call)
      case .event(let event): call.report(event)
      case .unknown: continue
      }
    }
    throw DaemonError.lost(socket)
  }

  private func answer(_ question: RestorePlan, _ signals: ForwardedSignals, _ call: Call) throws {
    func send(_ yes: Bool) throws {
      _ = try DaemonConnection(socket).ask(
        "POST", ControlPath.answer(signals.operation), ControlJSON.encode(OperationAnswer(yes: yes))
      ).checked()
    }
    do { try signals.whileAsking { try call.confirm(question) } } catch {
      try? send(false)
      throw error
    }
    try send(true)
  }
}

extension DaemonConnection.Reply {
  /// - Throws: what the daemon says is wrong.
  fileprivate func checked() throws -> Self {
    if status == 200 { return self }
    guard let body = try line(), let failure = try? ControlJSON.decode(ControlFailureBody.self, from: body) else {
      throw ControlFailure(message: "ckptd answers with HTTP status \(status)", status: .failed)
    }
    throw failure.error
  }
}

/// SIGINT, SIGTERM and SIGHUP give up what the daemon does for us; its last line then says what came of it. While somebody is asked
/// they end the process: who reads an answer would not notice them.
private final class ForwardedSignals: @unchecked Sendable {
  // Unchecked: the sources are made and ended by one thread.
  private let socket: String
  private let sources: [any DispatchSourceSignal]
  private let state = Mutex((operation: "", isWanted: false, isAsking: false))

  init(_ socket: String) {
    self.socket = socket
    sources = [SIGINT, SIGTERM, SIGHUP].map { DispatchSource.makeSignalSource(signal: $0, queue: .global()) }
    for source in sources {
      source.setEventHandler { [weak self] in self?.giveUp() }
      source.resume()
    }
  }

  var operation: String { state.withLock { $0.operation } }

  func follow(_ operation: String) {
    let isWanted = state.withLock { state in
      state.operation = operation
      return state.isWanted
    }
    if isWanted { giveUp() }
  }

  func end() { for source in sources { source.cancel() } }

  /// A signal until `ask` returns, or one that came before, ends the process. The daemon, left without an answer, changes nothing.
  func whileAsking(_ ask: () throws -> Void) rethrows {
    let isWanted = state.withLock { state in
      state.isAsking = true
      return state.isWanted
    }
    if isWanted { endNow() }
    defer { state.withLock { $0.isAsking = false } }
    try ask()
  }

  private func endNow() -> Never {
    for line in ["", "ckpt: interrupted; nothing was changed"] { Terminal.error(line) }
    // Not `exit`: the other thread has standard input.
    _exit(ExitStatus.interrupted.rawValue)
  }

  private func giveUp() {
    let (operation, isAsking) = state.withLock { state in
      state.isWanted = true
      return (state.operation, state.isAsking)
    }
    if isAsking { endNow() }
    guard !operation.isEmpty else { return }
    _ = try? DaemonConnection(socket).ask("DELETE", ControlPath.operation(operation))
  }
}
