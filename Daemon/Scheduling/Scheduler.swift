public import EpochStore

/// Decides which guest's epoch is taken when. Changes nothing in the world: it is told what the clocks show and what came of runs,
/// and says what to begin and until when to sleep.
///
/// - A guest has one run at a time; a slot that comes while it goes on, or waits for its turn, is skipped.
/// - Slots that passed unseen get one run for all of them.
/// - Intervals are measured by the clock that nobody sets. Calendars follow the wall clock, and are read anew when it is set.
/// - At most `takesAtOnce` runs go on at a time; the others wait in the order in which they were due.
public struct Scheduler: Sendable {
  /// What to begin: a take of this guest, then, when it succeeds, a pruning by the policy that holds then.
  public struct Run: Hashable, Sendable {
    public let guest: String
    public let maxPauseSeconds: Double?
    /// What stays when room is short; an empty policy says nothing about it.
    public let keep: RetentionPolicy
    /// Nothing is to be removed for it: the policy is not what somebody wrote down last.
    public internal(set) var removesNothing = false
  }

  var entries: [String: Entry] = [:]
  /// Guests whose slot came, with that slot by the wall clock; the first is next.
  private(set) var queue: [(guest: String, slot: EpochTime)] = []
  public private(set) var running: Set<String> = []
  private var recordsByGuest: [String: RunRecord]
  let calendar: any ScheduleCalendar
  /// How many runs may go on at a time; one does in any case. Runs that go on are left alone when it becomes less.
  public var takesAtOnce: Int
  /// From uptime to a wall clock that nobody sets: what the one on the wall showed when the first moment was told.
  private var steadyOffset: Int64?
  /// From uptime to the wall clock, as last seen.
  private var wallOffset: Int64 = 0

  /// A schedule and its next slot, with the time at which its run is due, by the schedule's clock.
  struct Entry: Sendable {
    let schedule: Schedule
    var next: (slot: EpochTime, due: EpochTime)?
    /// Why there is no slot, and the uptime to try again.
    var problem: String?
    var retry: Int64?
  }

  /// Milliseconds until a calendar that could not be asked is asked again.
  private static let retryAfter: Int64 = 300_000
  /// A wall clock that moved by more milliseconds against the other clock was set.
  private static let clockStep: Int64 = 1000

  /// - Parameter records: what came of runs before.
  public init(records: [RunRecord], takesAtOnce: Int, calendar: any ScheduleCalendar) {
    recordsByGuest = Dictionary(records.map { ($0.guest, $0) }) { $1 }
    (self.takesAtOnce, self.calendar) = (takesAtOnce, calendar)
  }

  public var records: [RunRecord] { recordsByGuest.values.sorted { $0.guest < $1.guest } }
  public func schedule(of guest: String) -> Schedule? { entries[guest]?.schedule }
  func record(of guest: String) -> RunRecord { recordsByGuest[guest] ?? RunRecord(guest: guest) }

  /// Replaces all schedules. One whose times are as they were goes on undisturbed; runs that go on do so in any case.
  ///
  /// - Parameter isComplete: what came of other guests' runs is forgotten; not where there may be schedules that could not be read.
  public mutating func reload(_ schedules: [Schedule], isComplete: Bool = true, at now: Moment) {
    noticeClock(now)
    let old = entries
    entries = [:]
    for schedule in schedules {
      if let known = old[schedule.guest], known.problem == nil, known.schedule.hasTimes(of: schedule) {
        entries[schedule.guest] = Entry(schedule: schedule, next: known.next)
      } else {
        entries[schedule.guest] = Entry(schedule: schedule)
        plan(schedule.guest, now)
      }
    }
    queue.removeAll { entries[$0.guest]?.schedule.isPaused ?? true }
    guard isComplete else { return }
    for guest in recordsByGuest.keys where entries[guest] == nil && !running.contains(guest) {
      recordsByGuest[guest] = nil
    }
  }

  /// What is to begin now. Each run counts as going on until ``finish(_:_:at:)``.
  public mutating func start(at now: Moment) -> [Run] {
    noticeClock(now)
    for (guest, entry) in entries where entry.retry.map({ $0 <= now.uptime }) ?? false { plan(guest, now) }
    for guest in dueGuests(now) { pass(guest, now) }
    var runs: [Run] = []
    while running.count < max(1, takesAtOnce), !queue.isEmpty {
      let (guest, slot) = queue.removeFirst()
      guard let schedule = entries[guest]?.schedule else { continue }
      running.insert(guest)
      var record = record(of: guest)
      record.begin(slot: slot, at: now.wall)
      recordsByGuest[guest] = record
      runs.append(Run(guest: guest, maxPauseSeconds: schedule.maxPauseSeconds, keep: schedule.keep))
    }
    return runs
  }

  /// Notes what came of a run.
  public mutating func finish(_ guest: String, _ result: RunResult, at now: Moment) {
    guard running.remove(guest) != nil else { return }
    var record = record(of: guest)
    record.end(result, at: now.wall)
    recordsByGuest[guest] = entries[guest] == nil ? nil : record
  }

  /// The uptime at which ``start(at:)`` has something to do, if nothing ends and nobody changes anything before; nil: never.
  public func nextWake(at now: Moment) -> Int64? {
    entries.values.compactMap { entry in
      entry.retry ?? entry.next.map { now.uptime + max(0, $0.due - clock(of: entry.schedule, now)) }
    }.min()
  }

  // MARK: Slots

  /// What the clock of a schedule shows.
  func clock(of schedule: Schedule, _ now: Moment) -> EpochTime {
    switch schedule.timing {
    case .every: EpochTime(milliseconds: now.uptime + (steadyOffset ?? 0))
    case .calendar: now.wall
    }
  }

  /// A time of the schedule's clock as the wall clock will show it, or has shown.
  func onTheWall(_ time: EpochTime, of schedule: Schedule, _ now: Moment) -> EpochTime {
    time + (now.wall - clock(of: schedule, now))
  }

  func slots(_ schedule: Schedule) -> Slots { Slots(schedule: schedule, calendar: calendar) }

  /// A wall clock that was set makes the plans of calendars worthless.
  private mutating func noticeClock(_ now: Moment) {
    let offset = now.wall.milliseconds - now.uptime
    if steadyOffset == nil { (steadyOffset, wallOffset) = (offset, offset) }
    defer { wallOffset = offset }
    guard abs(offset - wallOffset) > Self.clockStep else { return }
    for (guest, entry) in entries { if case .calendar = entry.schedule.timing { plan(guest, now) } }
  }

  /// Finds the first slot by what was remembered.
  private mutating func plan(_ guest: String, _ now: Moment) {
    guard let schedule = entries[guest]?.schedule else { return }
    var entry = Entry(schedule: schedule)
    defer { entries[guest] = entry }
    guard !schedule.isPaused else { return }
    do {
      let last = queue.first { $0.guest == guest }?.slot ?? recordsByGuest[guest]?.lastSlot
      let first = try slots(schedule).first(after: last, at: now.wall)
      let slot = first.map { $0 + (clock(of: schedule, now) - now.wall) }
      entry.next = slot.map { ($0, slots(schedule).due($0)) }
    } catch {
      (entry.problem, entry.retry) = ("\(error)", now.uptime + Self.retryAfter)
    }
  }

  /// Those whose slot has come: the one that was due first is first, of equals the one that waits longest for a run.
  private func dueGuests(_ now: Moment) -> [String] {
    let due = entries.compactMap { guest, entry -> (Int64, EpochTime, String)? in
      guard let due = entry.next?.due else { return nil }
      let late = clock(of: entry.schedule, now) - due
      return late < 0 ? nil : (-late, recordsByGuest[guest]?.lastStart ?? EpochTime(milliseconds: 0), guest)
    }
    return due.sorted { $0 < $1 }.map(\.2)
  }

  /// Goes past all slots of a guest that are due: one run for them, or none when it has one already.
  private mutating func pass(_ guest: String, _ now: Moment) {
    guard let entry = entries[guest], let slot = entry.next?.slot else { return }
    do {
      let slots = slots(entry.schedule)
      let passed = try slots.passed(from: slot, at: clock(of: entry.schedule, now))
      entries[guest]?.next = passed.next.map { ($0, slots.due($0)) }
      let last = onTheWall(passed.last, of: entry.schedule, now)
      var record = record(of: guest)
      if let waiting = queue.firstIndex(where: { $0.guest == guest }) {
        // The run that waits stands for the newest slot.
        queue[waiting].slot = last
        record.skipped += passed.count
      } else if running.contains(guest) {
        record.lastSlot = last
        record.skipped += passed.count
      } else {
        queue.append((guest, last))
        record.missed += passed.count - 1
      }
      recordsByGuest[guest] = record
    } catch {
      let retry = now.uptime + Self.retryAfter
      entries[guest] = Entry(schedule: entry.schedule, problem: "\(error)", retry: retry)
    }
  }
}
