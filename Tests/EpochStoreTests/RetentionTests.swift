import Testing

@testable import EpochStore

/// Policies as tables: which epochs stay, and why.
@Suite struct RetentionTests {
  /// Central Europe in 2026: clocks go to summer time on 29 March and back on 25 October, each at 01:00 UTC.
  static let berlin = LocalZone { seconds in
    let (spring, autumn) = (time("03-29 01:00").seconds, time("10-25 01:00").seconds)
    return spring..<autumn ~= seconds ? 7200 : 3600
  }

  /// `03-29 01:00` of 2026, or with a year in front, in UTC.
  static func time(_ text: String) -> EpochTime {
    let full = text.count == 11 ? "2026-" + text : text
    return EpochTime(full.replacing(" ", with: "T") + ":00.000Z")!
  }

  struct Case: CustomTestStringConvertible, Sendable {
    let name: String
    let policy: @Sendable (inout RetentionPolicy) -> Void
    /// Times of epochs 1, 2, 3…; `*` pinned, `<` the way back, `!` damaged, `#x` tag x.
    let epochs: [String]
    var now = "12-31 23:59"
    var zone = LocalZone.utc
    /// What stays: number and reasons.
    let kept: [Int: [String]]

    var testDescription: String { name }

    var subjects: [Retention.Subject] {
      epochs.enumerated().map { index, text in
        let words = text.split(separator: " ")
        let time = words.filter { $0.first!.isNumber }.joined(separator: " ")
        return Retention.Subject(
          epoch: index + 1, time: RetentionTests.time(time),
          tags: words.filter { $0.hasPrefix("#") }.map { String($0.dropFirst()) },
          isPinned: words.contains("*"), undoesRollback: words.contains("<"), isDamaged: words.contains("!"))
      }
    }
  }

  static let cases = [
    Case(
      name: "nothing asked, nothing removed", policy: { _ in }, epochs: ["01-01 00:00", "01-02 00:00 !"],
      kept: [1: ["the policy is empty"], 2: ["the policy is empty"]]),
    Case(
      name: "the last ones", policy: { $0.last = 2 }, epochs: ["01-01 00:00", "01-01 00:01", "01-01 00:02"],
      kept: [2: ["last"], 3: ["last"]]),
    Case(
      name: "the newest of each minute", policy: { $0.minutely = 2 },
      epochs: ["01-01 00:00", "01-01 00:01", "01-01 00:01", "01-01 00:05"],
      kept: [3: ["minutely 2026-01-01 00:01"], 4: ["minutely 2026-01-01 00:05"]]),
    Case(
      name: "hours without an epoch do not count", policy: { $0.hourly = 3 },
      epochs: ["01-01 03:59", "01-01 04:00", "01-01 04:59", "01-01 05:00", "01-02 11:00"],
      kept: [
        3: ["hourly 2026-01-01 04:00"], 4: ["hourly 2026-01-01 05:00"], 5: ["hourly 2026-01-02 11:00"],
      ]),
    Case(
      name: "rules are joined by or", policy: { ($0.last, $0.hourly, $0.daily) = (1, 2, 2) },
      epochs: ["01-01 10:00", "01-01 11:00", "01-02 10:00", "01-02 10:30", "01-02 10:45"],
      kept: [
        2: ["hourly 2026-01-01 11:00", "daily 2026-01-01"],
        5: ["last", "hourly 2026-01-02 10:00", "daily 2026-01-02"],
      ]),
    Case(
      name: "weeks begin on Monday, over the new year too", policy: { $0.weekly = 3 },
      epochs: ["2026-12-27 23:59", "2026-12-28 00:00", "2027-01-01 12:00", "2027-01-03 23:59", "2027-01-04 00:00"],
      now: "2027-02-01 00:00",
      kept: [1: ["weekly 2026-12-21"], 4: ["weekly 2026-12-28"], 5: ["weekly 2027-01-04"]]),
    Case(
      name: "months and years", policy: { ($0.monthly, $0.yearly) = (2, 2) },
      epochs: ["2024-02-29 12:00", "2025-12-31 23:59", "2026-01-01 00:00", "2026-02-28 23:59"],
      kept: [
        2: ["yearly 2025"], 3: ["monthly 2026-01"], 4: ["monthly 2026-02", "yearly 2026"],
      ]),
    Case(
      name: "days are those of the wall clock, before and after it is set forward", policy: { $0.daily = 3 },
      epochs: ["03-28 22:30", "03-29 21:30", "03-29 22:30"], zone: berlin,
      kept: [1: ["daily 2026-03-28"], 2: ["daily 2026-03-29"], 3: ["daily 2026-03-30"]]),
    Case(
      name: "the same epochs by UTC", policy: { $0.daily = 3 },
      epochs: ["03-28 22:30", "03-29 21:30", "03-29 22:30"],
      kept: [1: ["daily 2026-03-28"], 3: ["daily 2026-03-29"]]),
    Case(
      name: "the hour that clocks show twice is two hours", policy: { $0.hourly = 2 },
      epochs: ["10-24 23:30", "10-25 00:30", "10-25 01:30"], zone: berlin,
      kept: [2: ["hourly 2026-10-25 02:00"], 3: ["hourly 2026-10-25 02:00"]]),
    Case(
      name: "the day of 25 hours is one day", policy: { $0.daily = 2 },
      epochs: ["10-24 21:30", "10-24 22:30", "10-25 22:30", "10-25 23:30"], zone: berlin,
      kept: [3: ["daily 2026-10-25"], 4: ["daily 2026-10-26"]]),
    Case(
      name: "within counts from the newest, not from now", policy: { $0.within = RetentionSpan("1d") },
      epochs: ["01-01 11:59", "01-01 12:00", "01-02 12:00"], kept: [2: ["within"], 3: ["within"]]),
    Case(
      name: "within takes a clock that is far ahead for no time", policy: { $0.within = RetentionSpan("2d") },
      epochs: ["01-01 12:00", "01-02 12:00", "01-03 12:00", "01-04 12:00", "02-04 12:05"],
      kept: [2: ["within"], 3: ["within"], 4: ["within"], 5: ["within"]]),
    Case(
      name: "and goes on counting behind it", policy: { $0.within = RetentionSpan("2d") },
      epochs: ["01-01 12:00", "01-02 12:00", "01-03 12:00", "02-03 12:00", "02-04 12:00", "02-05 12:00"],
      kept: [3: ["within"], 4: ["within"], 5: ["within"], 6: ["within"]]),
    Case(
      name: "and on when it is set right", policy: { $0.within = RetentionSpan("2d") },
      epochs: ["01-01 12:00", "01-02 12:00", "01-03 12:00", "02-03 12:00", "01-03 13:00", "01-04 13:00"],
      kept: [2: ["within"], 3: ["within"], 4: ["within"], 5: ["within"], 6: ["within"]]),
    Case(
      name: "a step back makes none older", policy: { $0.within = RetentionSpan("7d") },
      epochs: [
        "01-02 12:00", "01-04 12:00", "01-05 12:00", "01-06 12:00", "01-07 12:00", "01-10 12:00", "01-07 13:00",
        "01-08 12:00", "01-09 12:00", "01-10 12:30",
      ],
      kept: Dictionary(uniqueKeysWithValues: (2...10).map { ($0, ["within"]) })),
    Case(
      name: "nor does one from elsewhere, of long ago", policy: { $0.within = RetentionSpan("3d") },
      epochs: ["01-03 12:00", "01-04 12:00", "01-05 12:00", "01-06 12:00", "01-01 12:00", "01-06 13:00"],
      kept: [2: ["within"], 3: ["within"], 4: ["within"], 6: ["within"]]),
    Case(
      name: "of a guest that is taken in bursts one stays more", policy: { $0.within = RetentionSpan("12h") },
      epochs: [
        "01-01 09:00", "01-01 09:05", "01-01 09:10", "01-02 09:00", "01-02 09:05", "01-02 09:10", "01-03 09:00",
        "01-03 09:05", "01-03 09:10",
      ],
      kept: Dictionary(uniqueKeysWithValues: (4...9).map { ($0, ["within"]) })),
    Case(
      name: "within is no longer where epochs are always farther apart", policy: { $0.within = RetentionSpan("1h") },
      epochs: ["01-01 12:00", "01-02 12:00", "01-03 12:00", "01-04 12:00"], kept: [4: ["within"]]),
    Case(
      name: "within a month by the calendar, the 31st as well", policy: { $0.within = RetentionSpan("1m") },
      epochs: ["02-27 12:00", "02-28 12:00", "03-31 12:00"], kept: [2: ["within"], 3: ["within"]]),
    Case(
      name: "within a day that has 23 hours", policy: { $0.within = RetentionSpan("1d") },
      epochs: ["03-28 11:59", "03-28 12:00", "03-29 11:00"], zone: berlin, kept: [2: ["within"], 3: ["within"]]),
    Case(
      name: "tags and pins", policy: { $0.tags = ["a", "b"] },
      epochs: ["01-01 00:00 #a #c", "01-02 00:00 *", "01-03 00:00 #c", "01-04 00:00 #b #a"],
      kept: [1: ["tag a"], 2: ["pinned"], 4: ["tag b", "tag a"]]),
    Case(
      name: "the way back from the last rollback stays", policy: { $0.last = 1 },
      epochs: ["01-01 00:00", "01-02 00:00 <", "01-03 00:00 * <", "01-04 00:00"],
      kept: [2: ["ckpt undo"], 3: ["pinned", "ckpt undo"], 4: ["last"]]),
    Case(
      name: "a damaged epoch takes nobody's place", policy: { ($0.last, $0.daily) = (1, 2) },
      epochs: ["01-01 00:00", "01-02 00:00", "01-02 01:00 !", "01-03 00:00 !"],
      kept: [
        1: ["daily 2026-01-01"], 2: ["last", "daily 2026-01-02"], 3: ["last", "daily 2026-01-02", "damaged"],
        4: ["last", "daily 2026-01-03", "damaged"],
      ]),
    Case(
      name: "a damaged epoch goes when its time is over", policy: { $0.last = 1 },
      epochs: ["01-01 00:00 !", "01-02 00:00"], kept: [2: ["last"]]),
    Case(
      name: "damaged epochs alone are kept as the rules say", policy: { $0.last = 1 },
      epochs: ["01-01 00:00 !", "01-02 00:00 !"],
      kept: [1: ["last", "damaged"], 2: ["last", "damaged"]]),
    Case(
      name: "epochs from the future take no place in the calendar", policy: { $0.daily = 2 },
      epochs: ["01-01 00:00", "2030-05-05 00:00", "2031-05-05 00:00", "01-02 00:00", "01-03 00:00"],
      now: "01-03 00:00", kept: [4: ["daily 2026-01-02"], 5: ["daily 2026-01-03"]]),
    Case(
      name: "they stay while there are not enough others", policy: { $0.daily = 2 },
      epochs: ["2030-05-05 00:00", "01-02 00:00"], now: "01-03 00:00",
      kept: [1: ["daily 2030-05-05", "its time is in the future"], 2: ["daily 2026-01-02"]]),
    Case(
      name: "within does not count from the future", policy: { $0.within = RetentionSpan("2d") },
      epochs: ["01-01 00:00", "01-02 00:00", "2030-05-05 00:00"], now: "01-03 00:00",
      kept: [1: ["within"], 2: ["within"], 3: ["within", "its time is in the future"]]),
    Case(
      name: "a host whose clock fell back to 1970 loses nothing",
      policy: { ($0.daily, $0.within) = (1, RetentionSpan("1h")) },
      epochs: ["01-01 00:00", "01-02 00:00"], now: "1970-01-01 00:10",
      kept: [
        1: ["within", "daily 2026-01-01", "its time is in the future"],
        2: ["within", "daily 2026-01-02", "its time is in the future"],
      ]),
    Case(
      name: "order is that of the takes, whatever the clock did", policy: { ($0.last, $0.daily) = (2, 2) },
      epochs: ["01-05 00:00", "01-06 00:00", "1980-01-01 00:00", "01-01 00:00"],
      kept: [3: ["last", "daily 1980-01-01"], 4: ["last", "daily 2026-01-01"]]),
    Case(
      name: "equal times", policy: { $0.hourly = 2 }, epochs: ["01-01 00:00", "01-01 00:00", "01-01 00:00"],
      kept: [3: ["hourly 2026-01-01 00:00"]]),
  ]

  @Test(arguments: cases)
  func table(_ test: Case) throws {
    var policy = RetentionPolicy()
    test.policy(&policy)
    let verdicts = try Retention.decide(policy, test.subjects.shuffled(), now: Self.time(test.now), zone: test.zone)
    #expect(verdicts.map(\.epoch) == Array(1...test.epochs.count))
    let kept = verdicts.filter(\.isKept).map { ($0.epoch, $0.reasons.map(\.description)) }
    #expect(Dictionary(uniqueKeysWithValues: kept) == test.kept)
    #expect(verdicts.filter { !$0.isKept }.allSatisfy { $0.reasons.first == .noRule })
  }

  @Test(arguments: [
    (["01-01 00:00", "01-02 00:00"], 2), (["01-01 00:00 #b", "01-02 00:00"], 2), (["01-01 00:00 !"], 1),
    // What is kept could not be restored.
    (["01-01 00:00 #a !", "01-02 00:00"], 1),
    // What `ckpt undo` goes back to is not what the policy is for.
    (["01-01 00:00 <", "01-02 00:00"], 2),
  ])
  func aPolicyThatLeavesNothingIsRefused(epochs: [String], lost: Int) {
    var policy = RetentionPolicy()
    policy.tags = ["a"]
    let subjects = Case(name: "", policy: { _ in }, epochs: epochs, kept: [:]).subjects
    #expect(throws: StoreError.policyRemovesAll(epochs: lost)) {
      try Retention.decide(policy, subjects, now: Self.time("12-31 00:00"), zone: .utc)
    }
  }

  @Test func noEpochsAreNoReasonToRefuse() throws {
    var policy = RetentionPolicy()
    policy.last = 1
    #expect(try Retention.decide(policy, [], now: .now).isEmpty)
  }

  /// Against the rules written down plainly, on random schedules; and what is kept once is kept again.
  @Test(arguments: 0..<20 as Range<UInt64>)
  func randomSchedules(seed: UInt64) throws {
    var random = Random(seed)
    var policy = RetentionPolicy()
    (policy.last, policy.hourly) = (Int(random.next() % 4), Int(random.next() % 30))
    (policy.daily, policy.monthly) = (Int(random.next() % 9), 1 + Int(random.next() % 5))
    var time = Self.time("01-01 00:00").milliseconds
    let subjects = (1...400).map { epoch in
      time += Int64(random.next() % (seed % 2 == 0 ? 400_000_000 : 2_000_000))
      return Retention.Subject(epoch: epoch, time: EpochTime(milliseconds: time))
    }
    func newest(_ count: Int, _ digits: Int) -> [Int] {
      var seen: [String] = []
      return subjects.reversed().filter { epoch in
        let bucket = String(epoch.time.description.prefix(digits))
        guard !seen.contains(bucket), seen.count < count else { return false }
        seen.append(bucket)
        return true
      }.map(\.epoch)
    }
    let expected = Set(
      newest(policy.last, 24) + newest(policy.hourly, 13) + newest(policy.daily, 10) + newest(policy.monthly, 7))
    func kept(_ subjects: [Retention.Subject]) throws -> Set<Int> {
      let now = EpochTime(milliseconds: time)
      return Set(try Retention.decide(policy, subjects, now: now, zone: .utc).filter(\.isKept).map(\.epoch))
    }
    #expect(try kept(subjects) == expected)
    #expect(try kept(subjects.filter { expected.contains($0.epoch) }) == expected)
  }

  // MARK: Lengths of time

  @Test(arguments: [
    ("1y", "2023-02-28 10:00"), ("2y5m7d3h", "2021-09-22 07:00"), ("1w", "2024-02-22 10:00"),
    ("90min", "2024-02-29 08:30"), ("14m", "2022-12-29 10:00"), ("36h", "2024-02-27 22:00"),
  ])
  func spans(text: String, then: String) throws {
    let span = try #require(RetentionSpan(text))
    #expect(span.before(Self.time("2024-02-29 10:00"), .utc) == Self.time(then))
  }

  @Test(arguments: ["", "5", "d", "0d", "1x", "-1d", "1 d", "1D", "99999999999d", "1d-", "١d"])
  func otherSpansAreRefused(text: String) { #expect(RetentionSpan(text) == nil) }

  @Test(arguments: ["y", "m", "w", "d", "h"])
  func aSpanReachesBackNoFurtherThanDatesDo(unit: String) throws {
    #expect(RetentionSpan(String(repeating: "100000\(unit)", count: 100_000)) == nil)
    #expect(RetentionSpan("100000y1d") == nil)
    let longest = try #require(RetentionSpan("100000y"))
    #expect(RetentionSpan(longest.description) == longest)
    #expect(longest.before(Self.time("2024-02-29 10:00"), .system) < Self.time("1970-01-01 00:00"))
  }

  @Test func theZoneOfTheHostIsThatOfTheClockOnTheWall() {
    let offset = LocalZone.system.offset(1_785_500_000)
    #expect(abs(offset) <= 15 * 3600)
    #expect(LocalZone.system.offset(.max) == 0)
  }

  @Test(arguments: [-200_000, -719_469, -1, 0, 59, 60, 11_016, 19_782, 20_000, 400_000])
  func daysAndDatesAgree(number: Int) {
    let day = CivilDay(number: number)
    #expect(day.number == number)
    #expect(1...12 ~= day.month && 1...CivilDay.daysInMonth(day.month, of: day.year) ~= day.day)
  }
}
