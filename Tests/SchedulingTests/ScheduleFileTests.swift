import EpochStore
import Foundation
import Testing

@testable import Scheduling

@Suite("The file of schedules") struct ScheduleFileTests {
  let folder: TemporaryFolder
  let file: ScheduleFile

  init() throws {
    folder = try TemporaryFolder()
    file = ScheduleFile(store: folder.path)
  }

  private var samples: [Schedule] {
    get throws {
      var keep = RetentionPolicy()
      (keep.last, keep.minutely, keep.hourly, keep.daily) = (1, 2, 3, 4)
      (keep.weekly, keep.monthly, keep.yearly) = (5, 6, 7)
      (keep.within, keep.tags) = (RetentionSpan("1y2m3w4d5h6min"), ["gold", "a"])
      return [
        try Schedule(
          guest: "db", timing: .calendar("Mon..Fri *-*-* 02:30"), jitter: Interval("10m")!, maxPauseSeconds: 2.5,
          keep: keep, isPaused: true, since: time("01-01 00:00")),
        try schedule("wéb 1", every: "1h30m", since: time("02-01 00:00")),
      ]
    }
  }

  @Test("What is written is read, by guest, and for the owner alone")
  func roundTrip() throws {
    #expect(try file.read() == [] && file.stamp == nil)
    try file.edit { $0 = try samples.reversed() }
    #expect(try file.read() == samples)
    let attributes = try FileManager.default.attributesOfItem(atPath: file.path)
    #expect(attributes[.posixPermissions] as? Int == 0o600)
    #expect(try folder.names == ["schedules.json"])
  }

  @Test("It says what people say")
  func words() throws {
    try file.edit { $0 = try samples }
    let text = try folder.read("schedules.json")
    for words in [
      #""calendar" : "Mon..Fri *-*-* 02:30""#, #""jitter" : "10m""#, #""every" : "1h30m""#,
      #""max_pause_seconds" : 2.5"#,
      #""within" : "1y2m25d5h6min""#, #""paused" : true"#, #""since" : "2026-01-01T00:00:00.000Z""#,
    ] { #expect(text.contains(words)) }
  }

  @Test("Each edit is seen by the stamp; one that changes nothing writes nothing")
  func stamps() throws {
    var stamps = Set([file.stamp])
    for number in 1...20 {
      try file.edit { $0 = [try schedule("g\(number)", every: "5m", since: time("01-01 00:00"))] }
      #expect(stamps.insert(file.stamp).inserted)
    }
    try file.edit { _ in }
    #expect(!stamps.insert(file.stamp).inserted)
  }

  @Test("Edits at the same time lose none")
  func concurrent() async throws {
    try await withThrowingTaskGroup { group in
      for number in 0..<20 {
        group.addTask { [file] in
          try file.edit { $0.append(try schedule("g\(number)", every: "5m", since: time("01-01 00:00"))) }
        }
      }
      try await group.waitForAll()
    }
    #expect(try file.read().count == 20)
  }

  @Test("An edit that fails changes nothing")
  func failedEdit() throws {
    try file.edit { $0 = try samples }
    let before = try folder.read("schedules.json")
    #expect(throws: ScheduleError.noSchedule(guest: "x", known: ["db", "wéb 1"])) {
      try file.edit { schedules in
        schedules.removeFirst()
        _ = try (samples).index(of: "x")
      }
    }
    #expect(try folder.read("schedules.json") == before)
  }

  static let good = #""guest": "a", "every": "5m", "since": "2026-01-01T00:00:00.000Z""#

  @Test(
    "Whatever is wrong is told with its place, and never written over",
    arguments: [
      ("", "JSON"), ("{", "JSON"), (#"{"format": 1, "schedules": [{\#(good)"#, "JSON"), ("[]", "Dictionary"),
      ("{}", "no 'format'"), (#"{"format": 1}"#, "no 'schedules'"), (#"{"format": 2, "schedule": 7}"#, "format 2"),
      (#"{"format": 1, "schedules": [], "more": 1}"#, "unknown key 'more'"),
      (#"{"format": 1, "schedules": [{\#(good), "evry": "5m"}]}"#, "schedules[0]: unknown key 'evry'"),
      (#"{"format": 1, "schedules": [{\#(good)}, {"guest": "b"}]}"#, "schedules[1]: one of 'every' and 'calendar'"),
      (#"{"format": 1, "schedules": [{\#(good), "calendar": "daily"}]}"#, "schedules[0]: one of"),
      (#"{"format": 1, "schedules": [{"guest": "b", "every": "5m"}]}"#, "schedules[0]: there is no 'since'"),
      (#"{"format": 1, "schedules": [{\#(good), "jitter": "soon"}]}"#, "schedules[0].jitter: 'soon'"),
      (#"{"format": 1, "schedules": [{\#(good), "jitter": "5m"}]}"#, "schedules[0]: a jitter of 5m"),
      (#"{"format": 1, "schedules": [{\#(good), "jitter": 5}]}"#, "schedules[0].jitter: "),
      (#"{"format": 1, "schedules": [{\#(good), "max_pause_seconds": 0}]}"#, "a pause of 0.0 s"),
      (#"{"format": 1, "schedules": [{\#(good), "keep": {"last": -1}}]}"#, "schedules[0].keep.last: -1"),
      (#"{"format": 1, "schedules": [{\#(good), "keep": {"fortnightly": 1}}]}"#, "schedules[0].keep: unknown key"),
      (#"{"format": 1, "schedules": [{\#(good), "keep": {"within": "5"}}]}"#, "schedules[0].keep.within: '5'"),
      (#"{"format": 1, "schedules": [{\#(good), "keep": {"tags": [1]}}]}"#, "schedules[0].keep.tags[0]: "),
      (#"{"format": 1, "schedules": [{\#(good), "paused": "no"}]}"#, "schedules[0].paused: "),
      (#"{"format": 1, "schedules": [{\#(good)}, {\#(good)}]}"#, "schedules: 'a' has two"),
    ])
  func strict(text: String, words: String) throws {
    try folder.write("schedules.json", text)
    func expectRefusal(_ body: () throws -> Void) {
      do {
        try body()
        Issue.record("not refused")
      } catch let error as ScheduleError {
        #expect(error.description.hasPrefix(file.path) && error.description.contains(words))
        #expect(!error.description.contains("\n"))
      } catch {
        Issue.record(error)
      }
    }
    expectRefusal { _ = try file.read() }
    expectRefusal { try file.edit { $0 = [] } }
    #expect(try folder.read("schedules.json") == text)
  }

  @Test("Of a file with faults the schedules without one can be had; of two for a guest, neither")
  func readable() throws {
    func entry(_ guest: String, _ key: String = "every") -> String {
      #"{"guest": "\#(guest)", "\#(key)": "5m", "since": "2026-01-01T00:00:00.000Z"}"#
    }
    let entries = [entry("web"), entry("b", "evry"), "7", entry("two"), entry("two"), entry("a")]
    try folder.write("schedules.json", #"{"format": 1, "schedules": [\#(entries.joined(separator: ", "))]}"#)
    #expect(throws: ScheduleError.self) { try file.read() }
    #expect(file.readable().map(\.guest) == ["a", "web"])
    #expect(file.has("web") && !file.has("b") && !file.has("two"))
    for text in ["{", #"{"format": 2, "schedules": [\#(entry("a"))]}"#] {
      try folder.write("schedules.json", text)
      #expect(file.readable().isEmpty && !file.has("a"))
    }
  }

  @Test("A folder or a link in its place, and a file without end, are errors")
  func noFile() throws {
    try FileManager.default.createDirectory(atPath: file.path, withIntermediateDirectories: false)
    #expect(throws: StoreError.self) { try file.read() }
    try FileManager.default.removeItem(atPath: file.path)
    try FileManager.default.createSymbolicLink(atPath: file.path, withDestinationPath: "/dev/zero")
    #expect(throws: StoreError.self) { try file.edit { $0 = [] } }
    try FileManager.default.removeItem(atPath: file.path)
    try folder.write("schedules.json", String(repeating: " ", count: 2 << 20))
    #expect(throws: StoreError.self) { try file.read() }
  }

  @Test(
    "Values that no schedule can have",
    arguments: [
      ("", "5m"), (" a", "5m"), ("a\nb", "5m"), ("a\u{1b}[2J", "5m"), ("3", "5m"),
      (String(repeating: "a", count: 256), "5m"),
      ("a", "0s"),
    ])
  func badValues(guest: String, every: String) throws {
    let error = #expect(throws: ScheduleError.self) { try schedule(guest, every: every, since: time("01-01 00:00")) }
    #expect(error?.description.unicodeScalars.allSatisfy { $0.value >= 32 } == true)
  }

  @Test("A calendar expression is a short line", arguments: ["", "a\nb", String(repeating: "1", count: 257)])
  func badExpression(expression: String) throws {
    #expect(throws: ScheduleError.self) { try schedule("a", calendar: expression, since: time("01-01 00:00")) }
  }

  // MARK: Intervals

  @Test(
    "Intervals",
    arguments: [
      ("1s", 1, "1s"), ("5m", 300, "5m"), ("5min", 300, "5m"), ("90m", 5400, "1h30m"), ("1h30m", 5400, "1h30m"),
      ("2d", 172_800, "2d"), ("1w", 604_800, "7d"), ("366d", 31_622_400, "366d"), ("0s", 0, "0s"),
    ])
  func intervals(text: String, seconds: Int, written: String) throws {
    let interval = try #require(Interval(text))
    #expect(interval.seconds == seconds && interval.description == written && Interval(written) == interval)
  }

  @Test(
    "Other words are none",
    arguments: [
      "", "5", "m", "5x", "-5m", "5 m", "5M", "1.5h", "367d", "99999999999999999999s", "31622401s", "١m", "5m-",
    ])
  func noIntervals(text: String) { #expect(Interval(text) == nil) }

  @Test(
    "A retention span is read as it is written",
    arguments: ["1y2m3w4d5h6min", "90min", "100000h100000min", "100000d1w"])
  func spans(text: String) throws {
    let span = try #require(RetentionSpan(text))
    #expect(RetentionSpan(span.description) == span)
  }

  // MARK: What came of runs

  @Test("Records are read as they were written; damage is told")
  func records() throws {
    let runs = RunFile(store: folder.path)
    #expect(try runs.read() == [])
    var record = RunRecord(guest: "a")
    record.begin(slot: time("01-01 00:00"), at: time("01-01 00:01"))
    #expect(record.isUnfinished)
    try runs.write([record, RunRecord(guest: "0")])
    #expect(try runs.read() == [RunRecord(guest: "0"), record])
    #expect(record.previousSlot == nil)
    record.end(.failed("no"), at: time("01-01 00:01"))
    record.begin(slot: time("01-01 00:00") + 300_000, at: time("01-01 00:05"))
    record.diedIn = time("01-01 00:00")
    try runs.write([record])
    #expect(try runs.read() == [record] && record.previousSlot == time("01-01 00:00"))
    record.end(.taken(epoch: 3, pruneProblem: "locked"), at: time("01-01 00:02"))
    #expect(!record.isUnfinished && record.pruneProblem == "locked" && record.lastEpoch == 3)
    for text in ["", "{}", #"{"format": 9, "guests": []}"#] {
      try folder.write("schedule-runs.json", text)
      #expect(throws: ScheduleError.self) { try runs.read() }
    }
  }
}
