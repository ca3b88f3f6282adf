import EpochStore
import Testing

@testable import Scheduling

/// Times are seconds from the start.
@Suite("The scheduler") struct SchedulerTests {
  let start = time("06-01 12:00")

  @Test("An interval's first run is at once, the others so long after each other")
  func interval() throws {
    let bench = Bench([try schedule("web", every: "5m", since: start)], at: start)
    #expect(bench.run(1000) == [0, 300, 600, 900])
    #expect(bench.record("web").runs == 4 && bench.record("web").missed == 0)
  }

  @Test("A calendar's first run is when it elapses")
  func calendar() throws {
    let bench = Bench([try schedule("web", calendar: "600", since: start)], at: time("06-01 12:03"))
    #expect(bench.run(1900) == [420, 1020, 1620])
  }

  @Test("Without schedules, and with paused ones, nobody is woken")
  func nothing() throws {
    let bench = Bench([try schedule("web", every: "5m", isPaused: true, since: start)], at: start)
    #expect(bench.run(1000) == [] && bench.wait == nil)
    bench.scheduler.reload([], at: bench.now)
    #expect(bench.wait == nil && bench.scheduler.status(at: bench.now, runs: 3).isEmpty)
  }

  @Test("A run that takes long moves no other")
  func late() throws {
    let bench = Bench([try schedule("web", every: "5m", since: start)], at: start)
    _ = bench.start()
    bench.pass(100)
    bench.finish("web")
    #expect(bench.wait == 200)
  }

  // MARK: Overlap

  @Test("A slot that comes while the last run goes on is skipped and counted")
  func overlap() throws {
    let bench = Bench([try schedule("web", every: "5m", since: start)], at: start)
    #expect(bench.start() == ["web"])
    for _ in 1...2 {
      bench.pass(300)
      #expect(bench.start() == [])
    }
    bench.pass(100)
    bench.finish("web")
    #expect(bench.start() == [] && bench.wait == 200)
    #expect(bench.record("web").skipped == 2 && bench.record("web").missed == 0)
    #expect(bench.run(200) == [200])
    // The service that starts now knows that the skipped slots are done with.
    let next = Bench(
      [try schedule("web", every: "5m", since: start)], at: bench.now.wall, records: bench.scheduler.records)
    #expect(next.start() == [] && next.wait == 300 && next.record("web").missed == 0)
  }

  @Test("A guest whose schedule is set anew during its run does not run twice")
  func setDuringRun() throws {
    let bench = Bench([try schedule("web", every: "5m", since: start)], at: start)
    _ = bench.start()
    for schedules in [[], [try schedule("web", every: "1m", since: start)]] {
      bench.scheduler.reload(schedules, at: bench.now)
      bench.pass(60)
      #expect(bench.start() == [])
    }
    bench.finish("web")
    bench.pass(60)
    #expect(bench.start() == ["web"])
  }

  @Test("A failed run is counted, and the next is as planned")
  func failure() throws {
    let bench = Bench([try schedule("web", every: "5m", since: start)], at: start)
    _ = bench.start()
    bench.pass(10)
    bench.finish("web", .failed("it\nbroke\u{1b}[2J"))
    #expect(bench.wait == 290 && bench.record("web").failed == 1 && bench.record("web").problem == "it broke [2J")
    #expect(bench.run(290) == [290])
    #expect(bench.record("web").failed == 1 && bench.record("web").problem == nil && bench.record("web").runs == 2)
  }

  // MARK: Missed runs

  /// How long the service was down, and what it does then, 5 minutes being the interval and the last run 2 minutes before it went.
  struct Absence: Sendable {
    let seconds: Double
    let runs: [Double]
    let missed: Int
  }

  @Test(
    "Missed runs are made up once, and the slots stay where they were",
    arguments: [
      Absence(seconds: 60, runs: [120, 420], missed: 0), Absence(seconds: 180, runs: [0, 300], missed: 0),
      Absence(seconds: 479, runs: [0, 1, 301], missed: 0), Absence(seconds: 480, runs: [0, 300], missed: 1),
      Absence(seconds: 30 * 86400 + 180, runs: [0, 300], missed: 30 * 288),
    ])
  func missed(absence: Absence) throws {
    let bench = Bench([try schedule("web", every: "5m", since: start)], at: start)
    _ = bench.run(120)
    bench.pass(absence.seconds)
    let next = Bench(
      [try schedule("web", every: "5m", since: start)], at: bench.now.wall, records: bench.scheduler.records)
    #expect(next.run(absence.runs.last!) == absence.runs)
    #expect(next.record("web").missed == absence.missed)
  }

  @Test("The same for calendars", arguments: [(60.0, [480.0, 1080], 0), (540, [0, 600], 0), (1141, [0, 599], 1)])
  func missedCalendar(absence: Double, runs: [Double], missed: Int) throws {
    let schedules = [try schedule("web", calendar: "600", since: start)]
    let bench = Bench(schedules, at: start)
    #expect(bench.run(660) == [600])
    bench.pass(absence)
    let next = Bench(schedules, at: bench.now.wall, records: bench.scheduler.records)
    #expect(next.run(runs.last!) == runs)
    #expect(next.record("web").missed == missed)
  }

  @Test("A calendar's slots are not counted without end")
  func manyMissed() throws {
    let schedules = [try schedule("web", calendar: "1", since: time("2020-01-01 00:00"))]
    let bench = Bench(schedules, at: start)
    #expect(bench.start() == ["web"])
    #expect(bench.record("web").missed == 1000 - 1 && bench.wait == 1)
  }

  @Test("What a host slept through is made up once")
  func sleep() throws {
    let bench = Bench([try schedule("web", every: "5m", since: start)], at: start)
    _ = bench.run(60)
    bench.pass(3600)
    #expect(bench.run(240) == [0, 240])
    #expect(bench.record("web").missed == 11)
  }

  @Test("What came while it was paused was not missed; it goes on at once")
  func paused() throws {
    let bench = Bench([try schedule("web", every: "5m", since: start)], at: start)
    _ = bench.run(60)
    bench.scheduler.reload([try schedule("web", every: "5m", isPaused: true, since: start)], at: bench.now)
    #expect(bench.run(3600) == [])
    bench.scheduler.reload([try schedule("web", every: "5m", since: bench.now.wall)], at: bench.now)
    #expect(bench.run(300) == [0, 300] && bench.record("web").missed == 0)
  }

  @Test("A schedule that is set again as it was changes nothing; a new interval counts from the last run")
  func reload() throws {
    let bench = Bench([try schedule("web", every: "5m", since: start)], at: start)
    _ = bench.run(60)
    bench.scheduler.reload([try schedule("web", every: "5m", since: start)], at: bench.now)
    #expect(bench.wait == 240)
    bench.scheduler.reload([try schedule("web", every: "10m", since: bench.now.wall)], at: bench.now)
    #expect(bench.wait == 540)
    bench.scheduler.reload([try schedule("web", every: "30s", since: bench.now.wall)], at: bench.now)
    #expect(bench.run(60) == [0, 30, 60] && bench.record("web").missed == 0)
  }

  @Test("Another policy moves no run, also when the wall clock was set since")
  func reloadAfterClockStep() throws {
    let bench = Bench([try schedule("web", every: "5m", since: start)], at: start)
    _ = bench.run(60)
    bench.set(3600)
    var policy = RetentionPolicy()
    policy.last = 3
    bench.scheduler.reload([try schedule("web", every: "5m", keep: policy, since: start)], at: bench.now)
    #expect(bench.run(240) == [240] && bench.record("web").missed == 0)
    #expect(bench.scheduler.schedule(of: "web")?.keep == policy)
  }

  // MARK: Many guests

  @Test("No more than so many at a time, those first that were due first")
  func atOnce() throws {
    let since = ["a": 40, "b": 10, "c": 30, "d": 20, "e": 0] as [String: Int64]
    let bench = Bench(
      try since.map { try schedule($0, every: "1h", since: start + $1 * 1000) }, at: start + 60_000, takesAtOnce: 2)
    #expect(bench.start() == ["e", "b"])
    #expect(bench.start() == [] && bench.scheduler.status(at: bench.now, runs: 1).map(\.state).suffix(1) == [.running])
    bench.finish("b")
    #expect(bench.start() == ["d"])
    bench.finish("e", .failed("no"))
    bench.finish("d")
    #expect(bench.start() == ["c", "a"])
  }

  @Test("Nobody starves though every guest is due all the time")
  func fairness() throws {
    let bench = Bench(
      try (0..<7).map { try schedule("g\($0)", every: "10s", since: start) }, at: start, takesAtOnce: 1)
    for _ in 0..<700 {
      for guest in bench.start() {
        bench.pass(10)
        _ = bench.start()
        bench.finish(guest)
      }
    }
    #expect(bench.scheduler.records.map(\.runs) == Array(repeating: 100, count: 7))
    // Of 701 slots each, one still waits at most.
    #expect(bench.scheduler.records.allSatisfy { 600...601 ~= $0.skipped })
  }

  @Test("A schedule that is taken away while it waits does not run")
  func removedWhileWaiting() throws {
    let both = try ["a", "b"].map { try schedule($0, every: "1h", since: start) }
    let bench = Bench(both, at: start, takesAtOnce: 1)
    #expect(bench.start() == ["a"])
    bench.scheduler.reload([both[0]], at: bench.now)
    bench.finish("a")
    #expect(bench.start() == [] && bench.scheduler.records.map(\.guest) == ["a"])
  }

  // MARK: Clocks that are set

  @Test(
    "Intervals do not mind a clock that is set", arguments: [3600, -3600, 400 * 86400, -20 * 365 * 86400] as [Int64])
  func intervalJump(seconds: Int64) throws {
    let bench = Bench([try schedule("web", every: "5m", since: start)], at: start)
    _ = bench.run(100)
    bench.set(seconds)
    #expect(bench.run(500) == [200, 500])
    #expect(bench.record("web").missed == 0 && bench.record("web").skipped == 0)
    // Not either when the service starts anew.
    let next = Bench(
      [try schedule("web", every: "5m", since: start)], at: bench.now.wall, records: bench.scheduler.records)
    #expect(next.run(300) == [300])
  }

  @Test(
    "A clock that is set while the service is down delays no guest by more than an interval",
    arguments: [(-3600, [300.0], 0), (-30 * 86400, [300], 0), (3600, [0, 240], 11)] as [(Int64, [Double], Int)])
  func intervalJumpBetween(seconds: Int64, runs: [Double], missed: Int) throws {
    let bench = Bench([try schedule("web", every: "5m", since: start)], at: start)
    _ = bench.run(60)
    bench.set(seconds)
    let next = Bench(
      [try schedule("web", every: "5m", since: start)], at: bench.now.wall, records: bench.scheduler.records)
    #expect(next.run(300) == runs)
    #expect(next.record("web").missed == missed)
  }

  @Test("A calendar follows the wall clock: forward, one run for what was passed over")
  func calendarForward() throws {
    let bench = Bench([try schedule("web", calendar: "600", since: start)], at: start)
    #expect(bench.run(700) == [600])
    bench.set(3600)
    #expect(bench.run(500) == [0, 500])
    #expect(bench.record("web").missed == 5)
  }

  @Test("Back, its times come again")
  func calendarBack() throws {
    let bench = Bench([try schedule("web", calendar: "600", since: start)], at: start)
    #expect(bench.run(700) == [600])
    bench.set(-3600)
    #expect(bench.run(500) == [500] && bench.record("web").missed == 0)
  }

  @Test("A clock that is put right by little shows no time twice", arguments: [-1, -30] as [Int64])
  func calendarSmallStep(seconds: Int64) throws {
    let bench = Bench([try schedule("web", calendar: "600", since: start)], at: start)
    #expect(bench.run(600) == [600])
    bench.set(seconds)
    #expect(bench.run(600) == [])
    #expect(bench.run(60) == [Double(-seconds)])
  }

  // MARK: Jitter

  @Test("Jitter is the same each time, differs from slot to slot and guest to guest, and moves no slot")
  func jitter() throws {
    let one = Slots(
      schedule: try schedule("web", every: "5m", jitter: "60s", since: start), calendar: MultiplesCalendar())
    let other = Slots(
      schedule: try schedule("db", every: "5m", jitter: "60s", since: start), calendar: MultiplesCalendar())
    let slots = (0..<2000).map { start + Int64($0) * 300_000 }
    let jitters = slots.map(one.jitter)
    #expect(jitters == slots.map(one.jitter) && jitters != slots.map(other.jitter))
    #expect(jitters.allSatisfy { 0...60_000 ~= $0 })
    // Spread: each sixth of the range has about a sixth of the slots.
    for sixth in 0..<6 { #expect(280...390 ~= jitters.count { $0 / 10_001 == sixth }) }
    let bench = Bench([one.schedule], at: start)
    #expect(bench.run(3000) == (0..<10).map { Double(Int64($0) * 300_000 + jitters[$0]) / 1000 })
  }

  @Test("Guests that come at the same moment are spread")
  func spread() throws {
    let bench = Bench(
      try (0..<50).map { try schedule("guest\($0)", calendar: "3600", jitter: "5m", since: start) }, at: start)
    let begun = bench.run(3900)
    #expect(begun.count == 50 && Swift.Set(begun).count == 50 && begun == begun.sorted())
    for minute in 0..<5 { #expect(4...18 ~= begun.count { Int($0 - 3600) / 60 == minute }) }
  }

  // MARK: Trouble with calendars

  @Test("A calendar that cannot be read is told of and tried again; others go on")
  func badCalendar() throws {
    let good = try schedule("db", every: "1h", since: start)
    let bench = Bench([good, try schedule("web", calendar: "soon", since: start)], at: start)
    #expect(bench.start() == ["db"] && bench.wait == 300)
    let status = bench.scheduler.status(at: bench.now, runs: 3)[1]
    #expect(status.state == .stopped && status.problem?.contains("no number") == true)
    bench.pass(300)
    #expect(bench.start() == [] && bench.wait == 300)
    bench.scheduler.reload([good, try schedule("web", calendar: "600", since: bench.now.wall)], at: bench.now)
    #expect(bench.run(300) == [300])
  }

  // MARK: What is shown

  @Test("The next runs are those that come", arguments: [("5m", nil), (nil, "600")] as [(String?, String?)])
  func nextRuns(every: String?, calendar: String?) throws {
    let bench = Bench(
      [try schedule("web", every: every, calendar: calendar, jitter: "1m", since: start)], at: start)
    _ = bench.run(1000)
    bench.set(1234)
    _ = bench.run(0)
    let told = bench.scheduler.status(at: bench.now, runs: 4)[0]
    let begin = bench.now.wall
    #expect(told.state == .waiting)
    #expect(told.nextRuns == bench.run(4000).prefix(4).map { begin + Int64(($0 * 1000).rounded()) })
  }

  @Test("A run without an end, a paused one and a missed one are told apart")
  func states() throws {
    var running = RunRecord(guest: "a")
    running.begin(slot: start, at: start)
    let schedules = [
      try schedule("a", every: "1h", since: start), try schedule("b", every: "1h", isPaused: true, since: start),
      try schedule("c", every: "1h", since: start),
    ]
    let bench = Bench(schedules, at: start + 60_000, records: [running])
    #expect(bench.scheduler.status(at: bench.now, runs: 2).map(\.state) == [.running, .paused, .due])
    #expect(bench.scheduler.status(at: bench.now, runs: 2)[2].nextRuns == [start, start + 3_600_000])
  }
}
