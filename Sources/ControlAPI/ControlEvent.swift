public import Checkpoint
public import EpochStore

/// What is told of work while it is done.
public enum ControlEvent: Sendable {
  /// The daemon began; the operation's id names it to other requests.
  case started(operation: String)
  /// A take enters a phase.
  case phase(String)
  /// A take ended one of its rounds.
  case round(TakeStatistics.Round)
  /// A take went another way than it might have, or a hook of it failed; not an error.
  case note(String)
  /// A restore begins a step.
  case step(String)
  /// A restore waits for an answer: `POST` ``OperationAnswer`` to ``ControlPath/answer(_:)``.
  case confirm(RestorePlan)
  /// A verification reads this epoch: bytes done, bytes in all.
  case reading(guest: String, epoch: Int, done: Int, total: Int)
  case verified(VerifiedAnswer)
  /// A guest was pruned.
  case pruned(PruneReport)
}

/// One line of an answer that comes as the work goes on. The last one is `result` or `error`.
public enum ControlLine<Answer: Codable & Sendable>: Sendable {
  case event(ControlEvent)
  case result(Answer)
  case failure(ControlFailure)
  /// An event of a newer daemon, to be passed over.
  case unknown
}

private enum LineKeys: String, CodingKey {
  case event, operation, phase, round, note, step, question, guest, epoch, done, total, verified, pruned, result, error
}

extension ControlLine: Codable {
  public init(from decoder: any Decoder) throws {
    let line = try decoder.container(keyedBy: LineKeys.self)
    switch try line.decode(String.self, forKey: .event) {
    case "result": self = .result(try line.decode(Answer.self, forKey: .result))
    case "error": self = .failure(try line.decode(ControlFailure.self, forKey: .error))
    case "started": self = .event(.started(operation: try line.decode(String.self, forKey: .operation)))
    case "phase": self = .event(.phase(try line.decode(String.self, forKey: .phase)))
    case "round": self = .event(.round(try line.decode(TakeStatistics.Round.self, forKey: .round)))
    case "note": self = .event(.note(try line.decode(String.self, forKey: .note)))
    case "step": self = .event(.step(try line.decode(String.self, forKey: .step)))
    case "confirm": self = .event(.confirm(try line.decode(RestorePlan.self, forKey: .question)))
    case "verified": self = .event(.verified(try line.decode(VerifiedAnswer.self, forKey: .verified)))
    case "pruned": self = .event(.pruned(try line.decode(PruneReport.self, forKey: .pruned)))
    case "reading":
      self = .event(
        .reading(
          guest: try line.decode(String.self, forKey: .guest), epoch: try line.decode(Int.self, forKey: .epoch),
          done: try line.decode(Int.self, forKey: .done), total: try line.decode(Int.self, forKey: .total)))
    default: self = .unknown
    }
  }

  public func encode(to encoder: any Encoder) throws {
    var line = encoder.container(keyedBy: LineKeys.self)
    switch self {
    case .event(let event): try event.encode(to: &line)
    case .result(let result): try line.encode(event: "result", result, forKey: .result)
    case .failure(let failure): try line.encode(event: "error", failure, forKey: .error)
    case .unknown: try line.encode("unknown", forKey: .event)
    }
  }
}

extension ControlEvent {
  fileprivate func encode(to line: inout KeyedEncodingContainer<LineKeys>) throws {
    switch self {
    case .started(let operation): try line.encode(event: "started", operation, forKey: .operation)
    case .phase(let phase): try line.encode(event: "phase", phase, forKey: .phase)
    case .round(let round): try line.encode(event: "round", round, forKey: .round)
    case .note(let note): try line.encode(event: "note", note, forKey: .note)
    case .step(let step): try line.encode(event: "step", step, forKey: .step)
    case .confirm(let question): try line.encode(event: "confirm", question, forKey: .question)
    case .verified(let epoch): try line.encode(event: "verified", epoch, forKey: .verified)
    case .pruned(let report): try line.encode(event: "pruned", report, forKey: .pruned)
    case .reading(let guest, let epoch, let done, let total):
      try line.encode(event: "reading", guest, forKey: .guest)
      try line.encode(epoch, forKey: .epoch)
      try line.encode(done, forKey: .done)
      try line.encode(total, forKey: .total)
    }
  }
}

extension KeyedEncodingContainer<LineKeys> {
  fileprivate mutating func encode(event: String, _ value: some Encodable, forKey key: LineKeys) throws {
    try encode(event, forKey: .event)
    try encode(value, forKey: key)
  }
}
