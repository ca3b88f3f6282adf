import CXXHash
import EpochStore

/// The slots of a schedule: the times at which it asks for a run, each later by a jitter of its own. A slot with its jitter is due
/// before the next one is. All times are of one clock: for a calendar that on the wall, for an interval one that nobody sets.
struct Slots {
  let schedule: Schedule
  let calendar: any ScheduleCalendar

  /// A wall clock that was set back by less than this shows no slot twice.
  private static let smallStep: Int64 = 60_000
  /// So many missed times of a calendar are counted, no more.
  private static let mostCounted = 1000

  /// The first slot for a guest whose last one was `last`, by what the wall clock shows. It lies in the past when runs were missed.
  /// However the clock was set meanwhile, the guest waits no longer than an interval.
  func first(after last: EpochTime?, at now: EpochTime) throws -> EpochTime? {
    switch schedule.timing {
    case .every(let interval):
      let since = min(schedule.since, now)
      let next = last.map { max($0 + interval.milliseconds, since) } ?? since
      return min(next, now + interval.milliseconds)
    case .calendar:
      let base = max(last ?? schedule.since, schedule.since)
      return try next(after: base > now + Self.smallStep ? now : base)
    }
  }

  /// nil when a calendar has no more.
  func next(after slot: EpochTime) throws -> EpochTime? {
    switch schedule.timing {
    case .every(let interval): slot + interval.milliseconds
    case .calendar(let expression): try calendar.elapses(of: expression, after: slot, count: 1).first
    }
  }

  /// Milliseconds that a run comes after its slot: the same for a guest and a second, spread evenly over guests and slots.
  func jitter(_ slot: EpochTime) -> Int64 {
    guard schedule.jitter > .none else { return 0 }
    let second = Int(slot.milliseconds).floor(1000)
    let bytes = Array("\(schedule.guest) \(second)".utf8)
    let hash = bytes.withUnsafeBytes { XXH3_64bits($0.baseAddress, $0.count) }
    return Int64(hash % UInt64(schedule.jitter.milliseconds + 1))
  }

  /// When the slot's run is due.
  func due(_ slot: EpochTime) -> EpochTime { slot + jitter(slot) }

  struct Passed {
    /// The last slot that is due.
    var last: EpochTime
    /// How many are, it among them.
    var count: Int
    /// The first that is not due yet.
    var next: EpochTime?
  }

  /// The slots from a due one on that are due as well.
  func passed(from slot: EpochTime, at now: EpochTime) throws -> Passed {
    var passed = Passed(last: slot, count: 1, next: nil)
    if case .every(let interval) = schedule.timing {
      // A clock can be far ahead: all but the last few at once.
      let whole = max(0, (now - slot) / interval.milliseconds - 1)
      passed.last = slot + whole * interval.milliseconds
      passed.count += Int(whole)
    }
    passed.next = try next(after: passed.last)
    while let next = passed.next, due(next) <= now {
      passed.last = next
      passed.count += 1
      passed.next = try self.next(after: passed.count < Self.mostCounted || isInterval ? next : now)
    }
    return passed
  }

  private var isInterval: Bool { if case .every = schedule.timing { true } else { false } }
}
