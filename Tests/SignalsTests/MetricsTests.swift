import DeviceMapper
import Testing

@testable import Checkpoint
@testable import EpochStore
@testable import Scheduling
@testable import Signals

@Suite("Metrics")
struct MetricsTests {
  @Test("are written as Prometheus reads them")
  func text() {
    var plain = MetricFamily("ckpt_a", .gauge, "A \\ and\na line.")
    plain.add(1.5)
    var labelled = MetricFamily("ckpt_b_total", .counter, "B.")
    labelled.add(3, ("guest", #"we"b\x"# + "\n\u{1b}"), ("result", "taken"))
    labelled.add(1e300, ("guest", String(repeating: "é", count: 200)))
    let text = PrometheusText.render([plain, MetricFamily("ckpt_none", .gauge, "None."), labelled])
    #expect(
      text == #"""
        # HELP ckpt_a A \\ and\na line.
        # TYPE ckpt_a gauge
        ckpt_a 1.5
        # HELP ckpt_b_total B.
        # TYPE ckpt_b_total counter
        ckpt_b_total{guest="we\"b\\x\n?",result="taken"} 3
        ckpt_b_total{guest="\#(String(repeating: "é", count: 128))"} 1e+300

        """#)
  }

  @Test(
    "Numbers have the form that the format asks for",
    arguments: [
      (0.0, "0"), (1, "1"), (0.0025, "0.0025"), (-2, "-2"), (1_099_511_627_776, "1099511627776"),
      (Double.infinity, "+Inf"),
      (Double.nan, "NaN"),
    ])
  func numbers(value: Double, text: String) { #expect(PrometheusText.number(value) == text) }

  private func manifest(_ guest: String, pauseMs: Double, stopMs: Double) -> EpochManifest {
    var statistics = TakeStatistics()
    statistics.transferredBytes = 8192
    return EpochManifest(
      guest: guest, uuid: "", epoch: 1, kind: .pvh, vcpus: 1, memoryBytes: 0, pauseMs: pauseMs, stopMs: stopMs,
      statistics: statistics)
  }

  @Test("Takes are counted by result, failures by phase, pauses in a histogram")
  func takes() {
    struct Broken: Error {}
    let metrics = TakeMetrics()
    metrics.observe(manifest("web", pauseMs: 12, stopMs: 4))
    metrics.observe(manifest("web", pauseMs: 20_000, stopMs: 4))
    metrics.observe(.failed(TakeFailure(Broken(), in: .copy)), of: "web")
    metrics.observe(.failed(TakeFailure(Broken(), in: .copy)), of: "web")
    metrics.observe(.failed(TakeFailure(CheckpointError.noRoom(guest: "web", ""), in: .reserve)), of: "web")
    metrics.observe(.failed(TakeFailure(StoreError.locked(path: "", pid: nil), in: .reserve)), of: "db")
    metrics.observe(.phase(.request), of: "db")
    let lines = Set(PrometheusText.render(metrics.families()).split(separator: "\n").map(String.init))
    let expected = [
      #"ckpt_take_pause_seconds_bucket{guest="web",le="0.01"} 0"#,
      #"ckpt_take_pause_seconds_bucket{guest="web",le="0.025"} 1"#,
      #"ckpt_take_pause_seconds_bucket{guest="web",le="10"} 1"#,
      #"ckpt_take_pause_seconds_bucket{guest="web",le="+Inf"} 2"#, #"ckpt_take_pause_seconds_sum{guest="web"} 20.012"#,
      #"ckpt_take_pause_seconds_count{guest="web"} 2"#, #"ckpt_take_stop_seconds_bucket{guest="web",le="0.005"} 2"#,
      #"ckpt_takes_total{guest="web",result="taken"} 2"#, #"ckpt_takes_total{guest="web",result="failed"} 2"#,
      #"ckpt_takes_total{guest="web",result="skipped"} 1"#, #"ckpt_takes_total{guest="web",result="busy"} 0"#,
      #"ckpt_takes_total{guest="db",result="busy"} 1"#, #"ckpt_take_failures_total{guest="web",phase="copy"} 2"#,
      #"ckpt_take_copied_bytes_total{guest="web"} 16384"#, #"ckpt_take_in_pause{guest="db"} 1"#,
      #"ckpt_take_in_pause{guest="web"} 0"#,
    ]
    for line in expected { #expect(lines.contains(line), "\(line)") }
    // A guest that was never taken has no pause, and one that was only skipped no failed phase.
    #expect(!lines.contains { $0.hasPrefix("ckpt_take_pause_seconds") && $0.contains("db") })
    #expect(!lines.contains { $0.hasPrefix("ckpt_take_failures_total") && $0.contains("reserve") })
    metrics.observe(.phase(.write), of: "db")
    #expect(PrometheusText.render(metrics.families()).contains(#"ckpt_take_in_pause{guest="db"} 0"#))
  }

  @Test("Store, pools and guests are told as they are")
  func status() {
    var status = HostStatus(
      host: "dom0",
      store: HostStatus.Store(path: "/s", used: 100, fileSystem: FileSystemSpace(total: 1000, free: 300)))
    status.recoverable = ["web: something"]
    status.guests = [
      HostStatus.Guest(name: "web", uuid: "a"), HostStatus.Guest(name: "db", uuid: "b"),
    ]
    (status.guests[1].domain, status.guests[1].isHeld) = (3, true)
    (status.guests[1].epochs, status.guests[1].damaged) = (2, 1)
    status.guests[0].streak.failures = 4
    status.guests[1].bytes = 5000
    let text = PrometheusText.render(status.families())
    let expected = [
      "ckpt_store_used_bytes 100", "ckpt_store_free_bytes 300", "ckpt_store_size_bytes 1000", "ckpt_recoverable 1",
      #"ckpt_epochs{guest="db"} 2"#, #"ckpt_epochs_bytes{guest="db"} 5000"#, #"ckpt_epochs_damaged{guest="db"} 1"#,
      #"ckpt_take_failures_in_row{guest="web"} 4"#, #"ckpt_guest_held{guest="db"} 1"#,
    ]
    for line in expected { #expect(text.contains(line + "\n"), "\(line)") }
    #expect(!text.contains(#"ckpt_guest_held{guest="web"}"#) && !text.contains("ckpt_last_success"))
  }

  private var emptyStatus: HostStatus {
    HostStatus(
      host: "dom0", store: HostStatus.Store(path: "/s", used: 0, fileSystem: FileSystemSpace(total: 1000, free: 300)))
  }

  @Test(
    "A pool takes epochs below the watermark, while it is active",
    arguments: [(nil, 1), (81, 1), (80, 0)] as [(Int?, Int)])
  func watermark(limit: Int?, value: Int) {
    var status = emptyStatus
    let pool = PoolStatus(
      mode: .readWrite, usedMetadataBlocks: 1000, totalMetadataBlocks: 16384, usedDataBlocks: 80_000,
      totalDataBlocks: 100_000)
    let catalog = PoolCatalog(name: "main", identity: "1", backing: .devices(data: "/dev/a", metadata: "/dev/b"))
    status.pools = [PoolReport(catalog, pool)]
    status.store.limits.poolWatermark = limit
    let line = #"ckpt_pool_takes_epochs{pool="main"} "#
    #expect(PrometheusText.render(status.families()).contains("\(line)\(value)\n"))
    status.pools = [PoolReport(catalog, nil)]
    #expect(PrometheusText.render(status.families()).contains("\(line)0\n"))
  }

  @Test("Schedules are told as they are, and whether their file has a fault")
  func schedules() throws {
    func shown(_ guest: String, next: [EpochTime], _ change: (inout RunRecord) -> Void) throws -> ScheduleStatus {
      var record = RunRecord(guest: guest)
      change(&record)
      let schedule = try Schedule(
        guest: guest, timing: .every(Interval(seconds: 60)), since: EpochTime(milliseconds: 0))
      return ScheduleStatus(schedule: schedule, state: .waiting, nextRuns: next, record: record, problem: nil)
    }
    let statuses = [
      try shown("db", next: []) { ($0.skipped, $0.missed) = (3, 5) },
      try shown("web", next: [EpochTime(milliseconds: 1500)]) { $0.pruneProblem = "locked" },
    ]
    let text = PrometheusText.render(ScheduleMetrics.families(statuses, problem: nil))
    let expected = [
      #"ckpt_schedule_next_timestamp_seconds{guest="web"} 1.5"#, #"ckpt_schedule_skipped_total{guest="db"} 3"#,
      #"ckpt_schedule_missed_total{guest="db"} 5"#, #"ckpt_schedule_missed_total{guest="web"} 0"#,
      #"ckpt_schedule_prune_failed{guest="db"} 0"#, #"ckpt_schedule_prune_failed{guest="web"} 1"#,
      "ckpt_schedules_faulty 0",
    ]
    for line in expected { #expect(text.contains(line + "\n"), "\(line)") }
    // A schedule that is paused has no next run.
    #expect(!text.contains(#"ckpt_schedule_next_timestamp_seconds{guest="db"}"#))
    #expect(PrometheusText.render(ScheduleMetrics.families([], problem: "odd")).contains("ckpt_schedules_faulty 1\n"))
  }

  private static let day: Int64 = 86_400_000

  /// Guests that do not run now, each with a failure so many days ago.
  private func status(failed: [(guest: String, days: Int64)]) -> HostStatus {
    var status = HostStatus(
      host: "dom0", store: .init(path: "/s", used: 1, fileSystem: FileSystemSpace(total: 1, free: 1)))
    status.xen = "4.17"
    status.guests = failed.map { failed in
      var guest = HostStatus.Guest(name: failed.guest, uuid: "uuid of \(failed.guest)")
      guest.streak.failures = 2
      guest.streak.lastFailure = .init(
        time: EpochTime(milliseconds: -failed.days * Self.day), kind: "failed", phase: "probe", message: "gone")
      return guest
    }
    return status
  }

  /// The guests whose row of failures is told.
  private func rows(_ status: HostStatus, scheduled: Set<String>?) -> [String] {
    let text = PrometheusText.render(status.families(scheduled: scheduled, now: EpochTime(milliseconds: 0)))
    let start = #"ckpt_take_failures_in_row{guest=""#
    return text.split(separator: "\n").filter { $0.hasPrefix(start) }.map {
      String($0.dropFirst(start.utf8.count).prefix { $0 != "\"" })
    }
  }

  @Test("A row of failures ends with its guest: it is told while that runs, has a schedule, or was tried lately")
  func rowsEnd() {
    var status = status(failed: [("gone", 8), ("named", 8), ("other", 8), ("runs", 8), ("tried", 6)])
    status.guests[3].domain = 7
    let scheduled: Set = ["named", "uuid of other"]
    #expect(rows(status, scheduled: scheduled) == ["named", "other", "runs", "tried"])
    // Where that cannot be known, none is taken to be gone.
    #expect(rows(status, scheduled: nil).count == 5)
    status.xen = nil
    #expect(rows(status, scheduled: scheduled).count == 5)
  }

  @Test("Of guests of one name the one that runs tells its failures, the one that was taken its epochs")
  func namesakes() {
    var status = status(failed: [("web", 1), ("web", 1)])
    (status.guests[0].epochs, status.guests[0].streak.failures) = (3, 0)
    (status.guests[1].domain, status.guests[1].streak.failures) = (7, 5)
    let text = PrometheusText.render(status.families())
    for line in [
      #"ckpt_epochs{guest="web"} 3"#, #"ckpt_take_failures_in_row{guest="web"} 5"#, #"ckpt_guest_held{guest="web"} 0"#,
    ] {
      #expect(text.contains(line + "\n"), "\(line)")
    }
  }

  @Test("Folders that cannot be read are counted, and nothing is made up of what is in them")
  func unreadable() {
    var status = status(failed: [("web", 1), ("db", 1)])
    (status.guests[0].domain, status.guests[0].isUnreadable) = (7, true)
    status.unreadable = [UnreadableFolder(uuid: "u", path: "/s/u", error: .invalid("odd"))]
    let text = PrometheusText.render(status.families())
    #expect(text.contains("ckpt_store_unreadable_folders 1\n") && text.contains("ckpt_guest_held{guest=\"web\"} 0\n"))
    #expect(text.contains("ckpt_epochs{guest=\"db\"} 0\n"))
    #expect(text.split(separator: "\n").filter { $0.contains("guest=\"web\"") }.count == 1)
  }
}
