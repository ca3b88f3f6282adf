public import EpochStore

/// A schedule, what is planned and what came of it, as it is shown.
public struct ScheduleStatus: Encodable, Sendable {
  public enum State: String, Encodable, Sendable {
    /// The next slot has not come.
    case waiting
    /// A slot has come, and no run was begun: the service is down, or other guests have their turn.
    case due
    case running, paused
    /// No slot comes any more, or none could be told.
    case stopped
  }

  public let schedule: Schedule
  public let state: State
  /// When the next runs are due, jitter included, by the wall clock; the first lies in the past when it was missed.
  public let nextRuns: [EpochTime]
  public let record: RunRecord
  /// Why no slot could be told.
  public let problem: String?

  enum CodingKeys: String, CodingKey {
    case guest, calendar, keep, paused, since, state
    case everySeconds = "every_seconds"
    case jitterSeconds = "jitter_seconds"
    case maxPauseSeconds = "max_pause_seconds"
    case nextRuns = "next_runs"
    case problem = "schedule_problem"
    case record = "runs"
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(schedule.guest, forKey: .guest)
    switch schedule.timing {
    case .every(let interval): try container.encode(interval.seconds, forKey: .everySeconds)
    case .calendar(let expression): try container.encode(expression, forKey: .calendar)
    }
    try container.encode(schedule.jitter.seconds, forKey: .jitterSeconds)
    try container.encodeIfPresent(schedule.maxPauseSeconds, forKey: .maxPauseSeconds)
    try container.encode(schedule.keep, forKey: .keep)
    try container.encode(schedule.isPaused, forKey: .paused)
    try container.encode(schedule.since, forKey: .since)
    try container.encode(state, forKey: .state)
    try container.encode(nextRuns, forKey: .nextRuns)
    try container.encode(record, forKey: .record)
    try container.encodeIfPresent(problem, forKey: .problem)
  }
}

extension Scheduler {
  /// All schedules by guest, each with its next runs. Knows of runs that another process began as far as they were noted.
  ///
  /// - Parameter runs: how many of the next runs to tell.
  public func status(at now: Moment, runs: Int) -> [ScheduleStatus] {
    entries.values.sorted { $0.schedule.guest < $1.schedule.guest }.map { status($0, now, runs) }
  }

  private func status(_ entry: Entry, _ now: Moment, _ runs: Int) -> ScheduleStatus {
    let schedule = entry.schedule
    let record = record(of: schedule.guest)
    var (next, problem): ([EpochTime], String?) = ([], entry.problem)
    do { next = try nextRuns(entry, now, runs) } catch { problem = "\(error)" }
    let isDue = queue.contains { $0.guest == schedule.guest } || next.first.map { $0 <= now.wall } ?? false
    let state: ScheduleStatus.State =
      if record.isUnfinished { .running } else if schedule.isPaused { .paused } else if isDue {
        .due
      } else if next.isEmpty { .stopped } else { .waiting }
    return ScheduleStatus(schedule: schedule, state: state, nextRuns: next, record: record, problem: problem)
  }

  private func nextRuns(_ entry: Entry, _ now: Moment, _ count: Int) throws -> [EpochTime] {
    let slots = slots(entry.schedule)
    var next: [EpochTime] = []
    var slot = entry.next?.slot
    while let planned = slot, next.count < count {
      // Of slots that have passed, one run is made up.
      let passed = slots.due(planned) <= clock(of: entry.schedule, now)
      next.append(onTheWall(slots.due(planned), of: entry.schedule, now))
      slot =
        passed
        ? try slots.passed(from: planned, at: clock(of: entry.schedule, now)).next : try slots.next(after: planned)
    }
    return next
  }
}
