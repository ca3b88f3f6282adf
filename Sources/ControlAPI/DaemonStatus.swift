public import EpochStore

/// One piece of work that the daemon does right now.
public struct OperationStatus: Codable, Hashable, Sendable {
  /// Names it as long as the daemon runs.
  public let id: String
  /// `take`, `restore`, `undo`, `recover`, `verify`, `prune`, `prune plan`, `mark`, `rename`, `remove`.
  public let kind: String
  /// As it was asked for; nil for all guests.
  public let guest: String?
  /// Who asked: `uid 0`, or `schedule`.
  public let by: String
  public let started: EpochTime
  /// A take's phase, a restore's step; nil before the first.
  public let phase: String?
  /// It was told to stop.
  public let isCancelled: Bool

  public init(
    id: String, kind: String, guest: String?, by: String, started: EpochTime, phase: String?, isCancelled: Bool
  ) {
    (self.id, self.kind, self.guest, self.by) = (id, kind, guest, by)
    (self.started, self.phase, self.isCancelled) = (started, phase, isCancelled)
  }

  enum CodingKeys: String, CodingKey {
    case id, kind, guest, by, started, phase
    case isCancelled = "cancelled"
  }
}

/// What the daemon is and does.
public struct DaemonStatus: Codable, Sendable {
  public let pid: Int32
  public let store: String
  /// Path of the configuration; nil when there is none, and every value is the default.
  public let config: String?
  public let started: EpochTime
  /// It ends: nothing new is begun.
  public let isEnding: Bool
  public let operations: [OperationStatus]
  /// What is wrong with the file of schedules, and which of them run; nil when nothing is, or they are not run here.
  public let scheduleProblem: String?

  public init(
    pid: Int32, store: String, config: String?, started: EpochTime, isEnding: Bool, operations: [OperationStatus],
    scheduleProblem: String? = nil
  ) {
    (self.pid, self.store, self.config) = (pid, store, config)
    (self.started, self.isEnding, self.operations) = (started, isEnding, operations)
    self.scheduleProblem = scheduleProblem
  }

  enum CodingKeys: String, CodingKey {
    case pid, store, config, started, operations
    case isEnding = "ending"
    case scheduleProblem = "schedule_problem"
  }
}

/// What came of a new look at the configuration.
public struct ReloadAnswer: Codable, Sendable {
  /// nil when there is none.
  public let config: String?
  /// What is wrong with it, by line; then the old one stays. Empty when it was taken over.
  public let faults: [String]

  public init(config: String?, faults: [String]) { (self.config, self.faults) = (config, faults) }
}
