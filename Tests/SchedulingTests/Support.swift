import EpochStore
import Foundation
import Synchronization

@testable import Scheduling

/// `01-01 00:00` or `01-01 00:00:30` of 2026, or with a year in front, in UTC.
func time(_ text: String) -> EpochTime {
  let year = text.first == "2" ? text : "2026-" + text
  return EpochTime(year.replacing(" ", with: "T") + (text.split(separator: ":").count == 2 ? ":00.000Z" : ".000Z"))!
}

func schedule(
  _ guest: String, every: String? = nil, calendar: String? = nil, jitter: String = "0s",
  keep: RetentionPolicy = .init(),
  isPaused: Bool = false, since: EpochTime
) throws -> Schedule {
  try Schedule(
    guest: guest, timing: calendar.map(Schedule.Timing.calendar) ?? .every(Interval(every!)!),
    jitter: Interval(jitter)!, keep: keep, isPaused: isPaused, since: since)
}

/// Elapses at each multiple of the seconds that the expression says, in UTC; counts how often it is asked.
final class MultiplesCalendar: ScheduleCalendar {
  private let questions = Mutex(0)
  var asked: Int { questions.withLock { $0 } }

  func elapses(of expression: String, after base: EpochTime, count: Int) throws -> [EpochTime] {
    questions.withLock { $0 += 1 }
    guard let step = Int64(expression) else {
      throw ScheduleError.refused(expression: expression, words: "no number")
    }
    let first = base.milliseconds / (step * 1000) + 1
    return (0..<Int64(count)).map { EpochTime(milliseconds: (first + $0) * step * 1000) }
  }
}

/// A scheduler and the clocks it is shown: the one on the wall can be set.
final class Bench {
  var scheduler: Scheduler
  var now: Moment
  let calendar = MultiplesCalendar()

  init(_ schedules: [Schedule], at start: EpochTime, records: [RunRecord] = [], takesAtOnce: Int = 100) {
    now = Moment(wall: start, uptime: 5_000_000)
    scheduler = Scheduler(records: records, takesAtOnce: takesAtOnce, calendar: calendar)
    scheduler.reload(schedules, at: now)
  }

  func pass(_ seconds: Double) {
    let milliseconds = Int64((seconds * 1000).rounded())
    now = Moment(wall: EpochTime(milliseconds: now.wall.milliseconds + milliseconds), uptime: now.uptime + milliseconds)
  }

  func set(_ seconds: Int64) {
    now.wall = EpochTime(milliseconds: now.wall.milliseconds + seconds * 1000)
  }

  func start() -> [String] { scheduler.start(at: now).map(\.guest) }
  func finish(_ guest: String, _ result: RunResult = .taken(epoch: 1)) {
    scheduler.finish(guest, result, at: now)
  }

  /// Seconds from now until the scheduler wants to be woken.
  var wait: Double? { scheduler.nextWake(at: now).map { Double($0 - now.uptime) / 1000 } }
  func record(_ guest: String) -> RunRecord { scheduler.record(of: guest) }

  /// Lets `seconds` pass, waking when asked; each run ends at once. Returns the seconds at which runs began.
  func run(_ seconds: Double) -> [Double] {
    let begin = now.uptime
    let end = begin + Int64(seconds * 1000)
    var begun: [Double] = []
    while true {
      for guest in start() {
        begun.append(Double(now.uptime - begin) / 1000)
        finish(guest)
      }
      guard let wake = scheduler.nextWake(at: now), wake <= end else { break }
      pass(Double(wake - now.uptime) / 1000)
    }
    pass(Double(end - now.uptime) / 1000)
    return begun
  }
}

/// A folder of its own that goes away with the value.
final class TemporaryFolder: Sendable {
  let path = FileManager.default.temporaryDirectory.path + "/ckpt-schedules-\(UInt64.random(in: 0...UInt64.max))"
  init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false) }
  deinit { try? FileManager.default.removeItem(atPath: path) }

  func write(_ name: String, _ text: String) throws {
    try Data(text.utf8).write(to: URL(fileURLWithPath: path + "/" + name), options: .atomic)
  }
  func read(_ name: String) throws -> String {
    String(decoding: try Data(contentsOf: URL(fileURLWithPath: path + "/" + name)), as: UTF8.self)
  }
  var names: [String] { get throws { try FileManager.default.contentsOfDirectory(atPath: path).sorted() } }
}
