import EpochStore
import Foundation
import Testing

@testable import Scheduling

/// 24 hours of schedules and pruning, with a service that dies on the way and a clock that is set. The scheduler says what happens in
/// one telling; the other is a plain count, second by second. What survives must be the same.
@Suite("A day") struct DayTests {
  @Test("Of 50 guests, exactly the epochs survive that a plain count says")
  func memory() throws {
    let guests = (0..<50).map(DayGuest.init)
    let shelves = guests.map { _ in MemoryShelf() }
    try compare(guests, shelves)
    #expect(shelves.map(\.taken).reduce(0, +) > 4000)
  }

  @Test("The same with epochs on disk")
  func disk() throws {
    let folder = try TemporaryFolder()
    let store = try EpochStore(path: folder.path + "/store")
    let guests = [1, 2, 3, 4].map(DayGuest.init)
    try compare(guests, guests.map { try DiskShelf(store, $0) })
  }

  private func compare(_ guests: [DayGuest], _ shelves: [any Shelf]) throws {
    let service = try DayService(guests, shelves)
    try service.live()
    let counted = PlainDay(guests).counted()
    for (index, guest) in guests.enumerated() {
      let (expected, record) = (counted[index], service.record(of: guest))
      #expect(try shelves[index].numbers == guest.survivors(expected.epochs), "\(guest.name)")
      #expect(shelves[index].taken == expected.epochs.count)
      #expect(record.runs == expected.runs && record.failed == expected.failed, "\(guest.name)")
      #expect(record.skipped == expected.skipped && record.missed == expected.missed, "\(guest.name)")
    }
    // The day had all that a day can have.
    for count in [\PlainDay.Guest.failed, \.skipped, \.missed] { #expect(counted.contains { $0[keyPath: count] > 0 }) }
    #expect(counted.allSatisfy { $0.epochs.count > 10 })
  }
}

/// What happens on the day; seconds from its start at midnight.
enum Day {
  static let start = time("06-01 00:00")
  static let length = 86_400
  static let takesAtOnce = 8
  static let outage = 36_000..<41_400
  /// From here on the clock on the wall is an hour ahead.
  static let clockSet = 54_000

  static func wall(_ second: Int) -> EpochTime { start + Int64(second + (second >= clockSet ? 3600 : 0)) * 1000 }
}

/// One of the guests: how it is scheduled, how its takes go, which epochs it keeps.
struct DayGuest {
  let number: Int
  var name: String { "guest\(number)" }

  /// Seconds between slots.
  var step: Int { [300, 420, 900, 3600, 1200][number % 5] }
  var isCalendar: Bool { number % 5 == 2 }
  var jitter: Int { [0, 60, 120, 0, 30][number % 5] }
  /// Seconds that a take goes on: some longer than the guest's interval.
  var duration: Int { [20, 15, 30, 60, 1300][number % 5] + number % 7 }
  /// When the schedule was set: an interval's first slot.
  var since: Int { number % 5 == 2 ? 0 : number * -7 }
  /// Attempts are counted from 1.
  func fails(_ attempt: Int) -> Bool { (attempt * 31 + number * 17) % 23 == 0 }
  func isTagged(_ epoch: Int) -> Bool { epoch % 37 == 5 }

  var policy: RetentionPolicy {
    var policy = RetentionPolicy()
    switch number % 4 {
    case 0: (policy.last, policy.hourly, policy.daily) = (12, 24, 7)
    case 1: (policy.last, policy.minutely) = (3, 10)
    case 2: (policy.within, policy.tags) = (RetentionSpan("3h"), ["gold"])
    default: (policy.hourly, policy.tags) = (6, ["gold"])
    }
    return policy
  }

  var schedule: Schedule {
    get throws {
      try Schedule(
        guest: name, timing: isCalendar ? .calendar("\(step)") : .every(Interval(seconds: step)),
        jitter: Interval(seconds: jitter), keep: policy, since: Day.start + Int64(since) * 1000)
    }
  }

  /// What the policy leaves of all epochs that were ever taken, oldest first: the rules as people would work them out on paper.
  func survivors(_ epochs: [(number: Int, time: EpochTime)]) -> [Int] {
    func newest(of count: Int, _ characters: Int) -> [Int] {
      var seen: [Substring] = []
      return epochs.reversed().filter { epoch in
        let stretch = epoch.time.description.prefix(characters)
        if seen.contains(stretch) || seen.count == count { return false }
        seen.append(stretch)
        return true
      }.map(\.number)
    }
    let tagged = epochs.map(\.number).filter(isTagged)
    let kept: [Int] =
      switch number % 4 {
      case 0: epochs.suffix(12).map(\.number) + newest(of: 24, 13) + newest(of: 7, 10)
      case 1: epochs.suffix(3).map(\.number) + newest(of: 10, 16)
      case 2: tagged + epochs.filter { $0.time >= epochs.last!.time + -3 * 3_600_000 }.map(\.number)
      default: tagged + newest(of: 6, 13)
      }
    return Set(kept).sorted()
  }
}

// MARK: The plain count

/// Every second, every guest is looked at.
struct PlainDay {
  struct Guest {
    var epochs: [(number: Int, time: EpochTime)] = []
    var runs = 0, failed = 0, skipped = 0, missed = 0
    /// All slots of the day in milliseconds of the guest's clock, and when their runs are due.
    var slots: [(time: Int, due: Int)] = []
    var next = 0
    /// The first slot after the newest that was dealt with.
    var notDone = 0
    /// The same before the run that goes on.
    var notDoneBefore = 0
    var waits: Int?
    var ends: Int?
    var lastStart = -1
  }

  let guests: [DayGuest]
  init(_ guests: [DayGuest]) { self.guests = guests }

  func counted() -> [Guest] {
    var states = guests.map { guest in
      var state = Guest()
      let slots = Slots(schedule: try! guest.schedule, calendar: MultiplesCalendar())
      let first = guest.isCalendar ? guest.step : guest.since
      state.slots = stride(from: first, through: Day.length + 7200, by: guest.step).map {
        ($0 * 1000, $0 * 1000 + Int(slots.jitter(Day.start + Int64($0) * 1000)))
      }
      return state
    }
    var queue: [Int] = []
    for second in 0...Day.length {
      if second == Day.outage.lowerBound {
        queue = []
        for index in states.indices {
          if states[index].ends != nil {
            states[index].failed += 1
            states[index].notDone = states[index].notDoneBefore
          }
          (states[index].ends, states[index].waits, states[index].next) = (nil, nil, states[index].notDone)
        }
      }
      if Day.outage.contains(second) { continue }
      for index in states.indices where states[index].ends == second { end(&states[index], guests[index], second) }
      for index in due(states, second) {
        if meet(&states[index], guests[index], second) { queue.append(index) }
      }
      while let index = queue.first, states.count(where: { $0.ends != nil }) < Day.takesAtOnce {
        queue.removeFirst()
        (states[index].notDoneBefore, states[index].notDone) = (states[index].notDone, states[index].waits!)
        (states[index].waits, states[index].lastStart) = (nil, second)
        states[index].ends = second + guests[index].duration
        states[index].runs += 1
      }
    }
    return states
  }

  private func clock(_ guest: DayGuest, _ second: Int) -> Int {
    (second + (guest.isCalendar && second >= Day.clockSet ? 3600 : 0)) * 1000
  }

  private func due(_ states: [Guest], _ second: Int) -> [Int] {
    let due = states.indices.filter { states[$0].slots[states[$0].next].due <= clock(guests[$0], second) }
    return due.sorted {
      let left = clock(guests[$0], second) - states[$0].slots[states[$0].next].due
      let right = clock(guests[$1], second) - states[$1].slots[states[$1].next].due
      return (-left, states[$0].lastStart, guests[$0].name) < (-right, states[$1].lastStart, guests[$1].name)
    }
  }

  /// Passes the slots that are due; whether the guest has to wait for a run now.
  private func meet(_ state: inout Guest, _ guest: DayGuest, _ second: Int) -> Bool {
    var count = 0
    while state.slots[state.next].due <= clock(guest, second) { (count, state.next) = (count + 1, state.next + 1) }
    if state.ends != nil {
      state.skipped += count
      state.notDone = state.next
      return false
    }
    if state.waits != nil { state.skipped += count } else { state.missed += count - 1 }
    defer { state.waits = state.next }
    return state.waits == nil
  }

  private func end(_ state: inout Guest, _ guest: DayGuest, _ second: Int) {
    state.ends = nil
    if guest.fails(state.runs) {
      state.failed += 1
    } else {
      state.epochs.append((state.epochs.count + 1, Day.wall(second)))
    }
  }
}

// MARK: The service

/// Does what ckptd does, as fast as it can.
final class DayService {
  private let guests: [String: DayGuest]
  private let shelves: [String: any Shelf]
  private let calendar = CachedCalendar(MultiplesCalendar())
  private var scheduler: Scheduler
  private var ends: [String: Int] = [:]

  init(_ guests: [DayGuest], _ shelves: [any Shelf]) throws {
    self.guests = Dictionary(uniqueKeysWithValues: guests.map { ($0.name, $0) })
    self.shelves = Dictionary(uniqueKeysWithValues: zip(guests.map(\.name), shelves))
    scheduler = Scheduler(records: [], takesAtOnce: Day.takesAtOnce, calendar: calendar)
    scheduler.reload(try guests.map { try $0.schedule }, at: moment(0))
  }

  func record(of guest: DayGuest) -> RunRecord { scheduler.record(of: guest.name) }

  private func moment(_ second: Int) -> Moment { Moment(wall: Day.wall(second), uptime: Int64(second + 1000) * 1000) }

  func live() throws {
    var second = 0
    while second <= Day.length {
      if second == Day.outage.lowerBound { second = try die() }
      for guest in ends.filter({ $0.value == second }).keys.sorted() { try end(guest, second) }
      for run in scheduler.start(at: moment(second)) { ends[run.guest] = second + guests[run.guest]!.duration }
      let wake = scheduler.nextWake(at: moment(second)).map { Int(($0 + 999) / 1000) - 1000 }
      // The loop also wakes when the clock is set.
      let stops = [Day.outage.lowerBound, Day.clockSet].filter { $0 > second }
      second = (Array(ends.values) + stops + [wake ?? Day.length + 1]).min()!
    }
  }

  /// What is going on is lost; the service that starts later knows what the file tells. Returns when it starts.
  private func die() throws -> Int {
    let second = Day.outage.upperBound
    var records = try JSONDecoder().decode([RunRecord].self, from: JSONEncoder().encode(scheduler.records))
    for index in records.indices where records[index].isUnfinished {
      records[index].endUnfinished(at: Day.wall(second))
    }
    ends = [:]
    scheduler = Scheduler(records: records, takesAtOnce: Day.takesAtOnce, calendar: calendar)
    scheduler.reload(try guests.values.map { try $0.schedule }, at: moment(second))
    return second
  }

  private func end(_ name: String, _ second: Int) throws {
    let (guest, shelf) = (guests[name]!, shelves[name]!)
    ends[name] = nil
    guard !guest.fails(scheduler.record(of: name).runs) else {
      return scheduler.finish(name, .failed("scripted"), at: moment(second))
    }
    try shelf.take(at: Day.wall(second), isTagged: guest.isTagged(shelf.taken + 1))
    try shelf.prune(guest.policy, now: Day.wall(second))
    scheduler.finish(name, .taken(epoch: shelf.taken), at: moment(second))
  }
}

// MARK: Epochs

/// Where a guest's epochs are.
protocol Shelf: AnyObject {
  /// Epochs that were ever taken.
  var taken: Int { get }
  /// Those that are there.
  var numbers: [Int] { get throws }
  func take(at time: EpochTime, isTagged: Bool) throws
  func prune(_ policy: RetentionPolicy, now: EpochTime) throws
}

final class MemoryShelf: Shelf {
  private(set) var taken = 0
  private var epochs: [Retention.Subject] = []
  var numbers: [Int] { epochs.map(\.epoch) }

  func take(at time: EpochTime, isTagged: Bool) {
    taken += 1
    epochs.append(.init(epoch: taken, time: time, tags: isTagged ? ["gold"] : []))
  }

  func prune(_ policy: RetentionPolicy, now: EpochTime) throws {
    let kept = Set(try Retention.decide(policy, epochs, now: now, zone: .utc).filter(\.isKept).map(\.epoch))
    epochs.removeAll { !kept.contains($0.epoch) }
  }
}

final class DiskShelf: Shelf {
  private(set) var taken = 0
  private let folder: GuestFolder

  init(_ store: EpochStore, _ guest: DayGuest) throws {
    let digits = String(guest.number + 100)
    folder = try store.folder(uuid: "11111111-2222-3333-4444-555555555\(digits)", create: true)
  }

  var numbers: [Int] { get throws { try folder.overview().allNumbers.sorted() } }

  func take(at time: EpochTime, isTagged: Bool) throws {
    taken += 1
    let manifest = EpochManifest(
      guest: "g", uuid: folder.uuid, epoch: taken, time: time, kind: .pvh, vcpus: 1, memoryBytes: 1 << 28)
    _ = try folder.create(epoch: taken, reserving: 0).publish(manifest)
    if isTagged { try folder.setMarks(EpochMarks(tags: ["gold"]), of: taken) }
  }

  func prune(_ policy: RetentionPolicy, now: EpochTime) throws {
    let verdicts = try Retention.decide(policy, folder.overview().subjects, now: now, zone: .utc)
    _ = try folder.remove(epochs: Set(verdicts.filter { !$0.isKept }.map(\.epoch)))
  }
}
