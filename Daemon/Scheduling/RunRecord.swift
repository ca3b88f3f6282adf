public import EpochStore

/// What came of a guest's runs so far. Of the slots of its schedule, each had a run, was skipped or was missed.
public struct RunRecord: Codable, Hashable, Sendable {
  public let guest: String
  /// The newest slot that had a run or was skipped.
  public var lastSlot: EpochTime?
  /// What `lastSlot` was before the run that goes on; nil when none does.
  public var previousSlot: EpochTime?
  /// The slot of the last run, when the service died in it; nil when it did not.
  public var diedIn: EpochTime?
  public var lastStart: EpochTime?
  /// Before `lastStart` while a run goes on.
  public var lastEnd: EpochTime?
  /// The last epoch that was taken, and when.
  public var lastEpoch: Int?
  public var lastSuccess: EpochTime?
  /// Why the last run failed; nil when it did not.
  public var problem: String?
  /// Why the last pruning failed; nil when it did not, or there was none.
  public var pruneProblem: String?
  /// Runs that were begun, and those of them that failed.
  public var runs = 0
  public var failed = 0
  /// Slots that came while the last run went on or waited for its turn.
  public var skipped = 0
  /// Slots that passed while the host or the service was down, or whose run its end cut short; but the newest, for which a run was
  /// made up.
  public var missed = 0

  public init(guest: String) { self.guest = guest }

  enum CodingKeys: String, CodingKey {
    case guest, problem, runs, failed, skipped, missed
    case lastSlot = "last_slot"
    case previousSlot = "previous_slot"
    case diedIn = "died_in"
    case lastStart = "last_start"
    case lastEnd = "last_end"
    case lastEpoch = "last_epoch"
    case lastSuccess = "last_success"
    case pruneProblem = "prune_problem"
  }

  /// A run was begun and its end is not known.
  public var isUnfinished: Bool {
    guard let lastStart else { return false }
    return lastEnd.map { $0 < lastStart } ?? true
  }

  mutating func begin(slot: EpochTime, at time: EpochTime) {
    (previousSlot, lastSlot, lastStart, lastEnd) = (lastSlot, slot, time, nil)
    runs += 1
  }

  /// Ends a run that a dead service left. It is made up like a missed one, but not when that dies as well: a take that brings down
  /// the host would do so at every start.
  mutating func endUnfinished(at time: EpochTime) {
    // An older service did not note what came before it: nothing is made up then, rather than all since the schedule began.
    let (slot, isMadeUp) = (lastSlot, diedIn == nil && (previousSlot != nil || runs == 1))
    end(isMadeUp ? .interrupted : .failed(Self.serviceEnded), at: time)
    diedIn = slot
  }

  mutating func end(_ result: RunResult, at time: EpochTime) {
    // A clock that was set back meanwhile does not make the run look unfinished.
    lastEnd = max(time, lastStart ?? time)
    switch result {
    case .taken(let epoch, let pruneProblem):
      (lastEpoch, lastSuccess, problem, diedIn) = (epoch, time, nil, nil)
      self.pruneProblem = pruneProblem.map(Self.oneLine)
    case .failed(let what):
      failed += 1
      (problem, diedIn) = (Self.oneLine(what), nil)
    case .interrupted:
      failed += 1
      (problem, lastSlot) = (Self.serviceEnded, previousSlot)
    }
    previousSlot = nil
  }

  private static let serviceEnded = "the service ended before the take did"

  /// Bounded and without control characters: a message may quote what a guest wrote.
  private static func oneLine(_ text: String) -> String {
    let plain = text.unicodeScalars.prefix(500).map { $0.properties.generalCategory == .control ? " " : $0 }
    return String(String.UnicodeScalarView(plain))
  }
}

/// What came of one run.
public enum RunResult: Hashable, Sendable {
  /// An epoch was taken; `pruneProblem` is why older ones could not be removed by the policy.
  case taken(epoch: Int, pruneProblem: String? = nil)
  case failed(String)
  /// The service's end kept it from an epoch: its slot counts as missed, and the next service makes it up.
  case interrupted
}
