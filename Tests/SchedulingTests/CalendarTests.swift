import Checkpoint
import EpochStore
import Foundation
import Synchronization
import Testing

@testable import Scheduling

private let hasSystemd = FileManager.default.fileExists(atPath: "/usr/bin/systemd-analyze")

@Suite("Calendars") struct CalendarTests {
  // MARK: What systemd-analyze says

  /// As systemd 252 prints it with TZ=Europe/Berlin.
  static let berlin = """
      Original form: hourly
    Normalized form: *-*-* *:00:00
        Next elapse: Sun 2026-10-25 03:00:00 CET
           (in UTC): Sun 2026-10-25 02:00:00 UTC
           From now: 1 month 0 days ago
           Iter. #2: Sun 2026-10-25 04:00:00 CET
           (in UTC): Sun 2026-10-25 03:00:00 UTC
           From now: 1 month 0 days ago

    """

  private func scripted(_ output: String, status: Int32 = 0, errors: String = "") -> SystemdCalendar {
    SystemdCalendar { _ in (status, output, errors) }
  }

  @Test("Its times are read in UTC")
  func output() throws {
    let calendar = scripted(Self.berlin)
    #expect(
      try calendar.elapses(of: "hourly", after: time("10-25 01:00"), count: 2) == [
        time("10-25 02:00"), time("10-25 03:00"),
      ])
  }

  @Test("Of clocks that show UTC by another name it says no line in UTC", arguments: ["GMT", "+00", "UTC", "WET"])
  func sameAsUTC(zone: String) throws {
    let output = """
        Original form: hourly
      Normalized form: *-*-* *:00:00
          Next elapse: Mon 2026-11-30 03:00:00 \(zone)
             From now: 23min left
             Iter. #2: Mon 2026-11-30 04:00:00 \(zone)
             From now: 1h 23min left

      """
    #expect(
      try scripted(output).elapses(of: "hourly", after: time("11-30 02:00"), count: 2) == [
        time("11-30 03:00"), time("11-30 04:00"),
      ])
  }

  @Test("Newer versions spell iterations out")
  func spelledOut() throws {
    let output = """
          Next elapse: Sun 2026-11-29 02:30:00 CET
             (in UTC): Sun 2026-11-29 01:30:00 UTC
         Iteration #2: Mon 2026-11-30 02:30:00 CET
             (in UTC): Mon 2026-11-30 01:30:00 UTC

      """
    #expect(
      try scripted(output).elapses(of: "02:30", after: time("11-28 03:00"), count: 2) == [
        time("11-29 01:30"), time("11-30 01:30"),
      ])
    #expect(throws: ScheduleError.self) {
      try scripted("  (in UTC): Mon 2026-11-30 01:30:00 UTC\n").elapses(of: "x", after: time("11-28 03:00"), count: 2)
    }
  }

  @Test("A base that it does not pass, and times it says twice, are left out")
  func repeated() throws {
    let line = "    Next elapse: Sun 2026-10-25 01:00:00 UTC\n       Iter. #2: Sun 2026-10-25 01:00:00 UTC\n"
    #expect(try scripted(line).elapses(of: "x", after: time("10-25 00:00"), count: 2) == [time("10-25 01:00")])
    #expect(try scripted(line).elapses(of: "x", after: time("10-25 01:00"), count: 2) == [])
  }

  @Test(
    "What it does not say so is an error, not a time",
    arguments: ["", "nonsense\n", "    Next elapse: Sun 2026-10-25\n", "    Next elapse: (null) UTC UTC UTC\n"])
  func otherOutput(output: String) {
    #expect(throws: ScheduleError.self) { try scripted(output).elapses(of: "x", after: time("01-01 00:00"), count: 1) }
  }

  @Test("It is asked with a base, a count, and the expression as one word that is no option")
  func question() throws {
    let asked = Mutex<[[String]]>([])
    let calendar = SystemdCalendar { arguments in
      asked.withLock { $0.append(arguments) }
      return (0, "    Next elapse: never\n", "")
    }
    #expect(try calendar.elapses(of: "--help; x", after: EpochTime(milliseconds: -1500), count: 7) == [])
    #expect(
      asked.withLock { $0 } == [
        ["systemd-analyze", "calendar", "--iterations=7", "--base-time=@-2", "--", "--help; x"]
      ])
  }

  @Test("Its refusal is told in its words, on one line")
  func refusal() throws {
    let calendar = scripted(
      "", status: 1, errors: "Failed to parse calendar specification 'x': Invalid argument\nmore\n")
    let error = #expect(throws: ScheduleError.self) {
      try calendar.elapses(of: "x", after: time("01-01 00:00"), count: 1)
    }
    #expect(error?.description.hasPrefix("Failed to parse calendar specification 'x': Invalid argument; see") == true)
    #expect(error?.description.contains("\n") == false)
  }

  // MARK: The cache

  @Test("Many times are asked for at once")
  func cache() throws {
    let source = MultiplesCalendar()
    let cache = CachedCalendar(source)
    var slot = time("01-01 00:00")
    for number in 1...1000 {
      slot = try #require(try cache.elapses(of: "60", after: slot, count: 1).first)
      #expect(slot == time("01-01 00:00") + Int64(number) * 60_000)
    }
    #expect(source.asked == 16)
    // Back in time, it asks again rather than answer wrongly.
    #expect(try cache.elapses(of: "60", after: time("01-01 00:00"), count: 1) == [time("01-01 00:01")])
    #expect(source.asked == 17)
  }

  @Test("A schedule whose expression never comes, or is passed by its own jitter, is refused")
  func check() throws {
    let now = time("01-01 00:00")
    let never = scripted("    Next elapse: never\n")
    #expect(throws: ScheduleError.self) { try never.check(schedule("a", calendar: "2020-01-01", since: now), at: now) }
    let calendar = MultiplesCalendar()
    try calendar.check(schedule("a", calendar: "600", jitter: "9m", since: now), at: now)
    #expect(throws: ScheduleError.self) {
      try calendar.check(schedule("a", calendar: "600", jitter: "10m", since: now), at: now)
    }
  }

  // MARK: systemd itself

  /// In a time zone.
  private func systemd(_ zone: String) -> SystemdCalendar {
    SystemdCalendar { try Command.finish(["env", "TZ=\(zone)"] + $0) }
  }

  @Test("What comes next, by systemd", .enabled(if: hasSystemd))
  func real() throws {
    #expect(
      try systemd("UTC").elapses(of: "Mon *-*-* 02:30", after: time("01-01 00:00"), count: 3) == [
        time("01-05 02:30"), time("01-12 02:30"), time("01-19 02:30"),
      ])
    #expect(try systemd("UTC").elapses(of: "hourly", after: time("01-01 01:00"), count: 1) == [time("01-01 02:00")])
    #expect(try systemd("UTC").elapses(of: "2020-01-01", after: time("01-01 00:00"), count: 3) == [])
    // What zones such as Africa/Abidjan's are, without their files.
    for zone in ["GMT0", "<+00>0"] {
      #expect(
        try systemd(zone).elapses(of: "*-*-* 02:30", after: time("01-01 00:00"), count: 2) == [
          time("01-01 02:30"), time("01-02 02:30"),
        ])
    }
    #expect(
      try systemd("UTC").elapses(of: "*:*:0/0.25", after: time("01-01 00:00"), count: 9).allSatisfy {
        $0 > time("01-01 00:00")
      })
    for wrong in ["soon", "-x", "--help", "25:00"] {
      let error = #expect(throws: ScheduleError.self) {
        try systemd("UTC").elapses(of: wrong, after: time("01-01 00:00"), count: 1)
      }
      #expect(error?.description.contains("'\(wrong)'") == true && error?.description.contains("\n") == false)
    }
  }

  /// Times at which runs begin, in UTC, from a time on, in a zone.
  private func runs(_ expression: String, _ zone: String, from start: EpochTime, hours: Double) throws -> [EpochTime] {
    var scheduler = Scheduler(records: [], takesAtOnce: 1, calendar: CachedCalendar(systemd(zone)))
    var now = Moment(wall: start, uptime: 0)
    scheduler.reload([try schedule("web", calendar: expression, since: start)], at: now)
    var begun: [EpochTime] = []
    while let wake = scheduler.nextWake(at: now), wake <= Int64(hours * 3_600_000) {
      now = Moment(wall: start + wake, uptime: wake)
      for run in scheduler.start(at: now) {
        begun.append(now.wall)
        scheduler.finish(run.guest, .taken(epoch: 1), at: now)
      }
    }
    return begun
  }

  @Test("A day of 23 hours: clocks are set forward", .enabled(if: hasSystemd))
  func spring() throws {
    // 04:30 is at 03:30 UTC the day before, and at 02:30 UTC from then on.
    #expect(
      try runs("*-*-* 04:30", "Europe/Berlin", from: time("03-28 00:00"), hours: 72) == [
        time("03-28 03:30"), time("03-29 02:30"), time("03-30 02:30"),
      ])
    // Every quarter of an hour is one, the missing hour's apart, which nobody lives through.
    let quarters = try runs("*:0/15", "Europe/Berlin", from: time("03-29 00:00"), hours: 3)
    #expect(quarters == (1...12).map { time("03-29 00:00") + Int64($0) * 900_000 })
  }

  @Test("A day of 25 hours: clocks are set back", .enabled(if: hasSystemd))
  func autumn() throws {
    #expect(
      try runs("*-*-* 04:30", "Europe/Berlin", from: time("10-24 00:00"), hours: 72) == [
        time("10-24 02:30"), time("10-25 03:30"), time("10-26 03:30"),
      ])
    // A time that clocks show twice comes once.
    #expect(
      try runs("*-*-* 02:30", "Europe/Berlin", from: time("10-24 12:00"), hours: 48) == [
        time("10-25 00:30"), time("10-26 01:30"),
      ])
  }

  @Test(
    "An expression with a zone of its own does not mind the host's", .enabled(if: hasSystemd),
    arguments: ["UTC", "Asia/Tokyo"])
  func ownZone(host: String) throws {
    #expect(
      try runs("*-*-* 04:30 Europe/Berlin", host, from: time("03-28 00:00"), hours: 48) == [
        time("03-28 03:30"), time("03-29 02:30"),
      ])
  }
}
