public import EpochStore
import Glibc
import Synchronization

/// Knows at which times a calendar expression elapses.
public protocol ScheduleCalendar: Sendable {
  /// The first `count` times after `base`, ascending, in whole seconds; fewer when no more come.
  func elapses(of expression: String, after base: EpochTime, count: Int) throws -> [EpochTime]
}

extension ScheduleCalendar {
  /// Refuses an expression that systemd refuses or that never comes, and a jitter that would let a run pass the next one.
  public func check(_ schedule: Schedule, at now: EpochTime) throws {
    guard case .calendar(let expression) = schedule.timing else { return }
    let elapses = try elapses(of: expression, after: now, count: 2)
    guard let first = elapses.first else {
      throw ScheduleError.badValue("'\(expression)' never comes again; write a time that does")
    }
    guard let second = elapses.dropFirst().first else { return }
    let gap = Interval(seconds: Int(second.milliseconds - first.milliseconds) / 1000)
    guard schedule.jitter < gap else {
      throw ScheduleError.badValue(
        "a jitter of \(schedule.jitter) is not shorter than the time from one run to the next, \(gap)")
    }
  }
}

/// systemd's own reading of calendar expressions, as `systemd-analyze calendar` (systemd 252) tells it.
public struct SystemdCalendar: ScheduleCalendar {
  /// Runs a tool of the host and waits for it.
  public typealias Run = @Sendable (_ arguments: [String]) throws -> (status: Int32, output: String, errors: String)

  private let run: Run

  public init(run: @escaping Run) { self.run = run }

  public func elapses(of expression: String, after base: EpochTime, count: Int) throws -> [EpochTime] {
    let seconds = Int(base.milliseconds).floor(1000)
    let (status, output, errors) = try run([
      "systemd-analyze", "calendar", "--iterations=\(count)", "--base-time=@\(seconds)", "--", expression,
    ])
    guard status == 0 else {
      let words = errors.split(separator: "\n").first.map(String.init) ?? "systemd-analyze ended with status \(status)"
      throw ScheduleError.refused(expression: expression, words: words)
    }
    guard let times = Self.times(in: output) else {
      throw ScheduleError.calendar(
        expression: expression,
        what: "systemd-analyze said something else than times: \(output.prefix(200).debugDescription)")
    }
    // Parts of a second are not shown, so a time may come several times, or be the base.
    var elapses: [EpochTime] = []
    for time in times where time > (elapses.last ?? base) { elapses.append(time) }
    return elapses
  }

  /// Times stand in lines like `Next elapse: Sun 2026-10-25 02:30:00 CEST` and `Iter. #2: …`, each with a line `(in UTC): Sun
  /// 2026-10-25 00:30:00 UTC` after it. There is none where the host's clocks always show UTC, by whatever name the zone calls it
  /// (`GMT`, `+00`): the first line is read as UTC then. nil for anything else.
  static func times(in output: String) -> [EpochTime]? {
    var times: [EpochTime] = []
    var isLocal = false
    for line in output.split(separator: "\n") {
      let parts = line.split(separator: ": ", maxSplits: 1)
      guard let label = parts.first?.drop(while: { $0 == " " }), let value = parts.dropFirst().first else { continue }
      let isInUTC = label == "(in UTC)"
      guard isInUTC || label == "Next elapse" || label.hasPrefix("Iter") else { continue }
      if value == "never" { return times }
      guard let time = time(value) else { return nil }
      if isInUTC {
        guard isLocal else { return nil }
        times.removeLast()
      }
      isLocal = !isInUTC
      times.append(time)
    }
    return times.isEmpty ? nil : times
  }

  /// `Sun 2026-10-25 02:30:00 GMT`, whatever the zone.
  private static func time(_ text: Substring) -> EpochTime? {
    let words = text.split(separator: " ")
    return words.count >= 3 ? EpochTime("\(words[1])T\(words[2]).000Z") : nil
  }
}

/// Asks another calendar for many times at once and remembers them, until the host's time zone is another.
public final class CachedCalendar: ScheduleCalendar {
  private let source: any ScheduleCalendar
  private let known = Mutex<[String: Known]>([:])

  private struct Known {
    let zone: ZoneStamp
    let base: EpochTime
    let elapses: [EpochTime]
    /// There are none after these.
    let isAll: Bool
  }

  /// Times that are asked for in one go.
  private static let batch = 64

  public init(_ source: any ScheduleCalendar) { self.source = source }

  public func elapses(of expression: String, after base: EpochTime, count: Int) throws -> [EpochTime] {
    let zone = ZoneStamp()
    if let known = known.withLock({ $0[expression] }), known.zone == zone, base >= known.base {
      let rest = known.elapses.drop { $0 <= base }
      if rest.count >= count || known.isAll { return Array(rest.prefix(count)) }
    }
    let wanted = max(count, Self.batch)
    let elapses = try source.elapses(of: expression, after: base, count: wanted)
    // Fewer may also come of parts of a second, which all look the same; then the cache simply ends there.
    let new = Known(zone: zone, base: base, elapses: elapses, isAll: elapses.isEmpty)
    known.withLock { known in
      // Expressions that no schedule has any more must not pile up.
      if known.count >= 1000 { known = [:] }
      known[expression] = new
    }
    return Array(elapses.prefix(count))
  }
}

/// Which zone the host keeps: what `/etc/localtime` is, and when it was changed.
private struct ZoneStamp: Equatable {
  var inode: UInt = 0
  var seconds = 0

  init() {
    var status = stat()
    guard stat("/etc/localtime", &status) == 0 else { return }
    (inode, seconds) = (UInt(status.st_ino), status.st_mtim.tv_sec)
  }
}
