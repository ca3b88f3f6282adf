import EpochStore
public import Scheduling

/// When guests are taken by schedule, and what came of it.
public enum ScheduleMetrics {
  /// - Parameter problem: what is wrong with the file of schedules; nil when nothing is.
  public static func families(_ schedules: [ScheduleStatus], problem: String?) -> [MetricFamily] {
    var faulty = MetricFamily("ckpt_schedules_faulty", .gauge, "1 while the file of schedules has a fault.")
    faulty.add(problem == nil ? 0 : 1)
    var next = MetricFamily(
      "ckpt_schedule_next_timestamp_seconds", .gauge, "When the guest's next take by schedule is due, since 1970.")
    var skipped = MetricFamily(
      "ckpt_schedule_skipped_total", .counter, "Times of the schedule that came while its last take was at work.")
    var missed = MetricFamily(
      "ckpt_schedule_missed_total", .counter, "Times of the schedule that passed while host or service was down.")
    var unpruned = MetricFamily(
      "ckpt_schedule_prune_failed", .gauge, "1 when the last pruning by the guest's schedule failed.")
    for status in schedules {
      let label = (name: "guest", value: status.schedule.guest)
      if let due = status.nextRuns.first { next.add(Double(due.milliseconds) / 1000, label) }
      skipped.add(Double(status.record.skipped), label)
      missed.add(Double(status.record.missed), label)
      unpruned.add(status.record.pruneProblem == nil ? 0 : 1, label)
    }
    return [faulty, next, skipped, missed, unpruned]
  }
}
