import ArgumentParser
import EpochStore

/// Which epochs stay: the same for a pruning by hand and for one after each scheduled take.
struct KeepOptions: ParsableArguments {
  @Option(help: "Keep the newest N.") var keepLast = 0
  @Option(help: "Keep the newest of a minute, for N minutes.") var keepMinutely = 0
  @Option(help: "Keep the newest of an hour, for N hours.") var keepHourly = 0
  @Option(help: "Keep the newest of a day, for N days.") var keepDaily = 0
  @Option(help: "Keep the newest of a week, for N weeks.") var keepWeekly = 0
  @Option(help: "Keep the newest of a month, for N months.") var keepMonthly = 0
  @Option(help: "Keep the newest of a year, for N years.") var keepYearly = 0
  @Option(
    help: ArgumentHelp(
      "Keep all that are not older than this, counted from the newest, like 2d12h (units: y m w d h min).",
      valueName: "duration"))
  var keepWithin: String?
  @Option(help: "Keep those with this tag; may be given more than once.") var keepTag: [String] = []

  func validate() throws {
    let counts = [keepLast, keepMinutely, keepHourly, keepDaily, keepWeekly, keepMonthly, keepYearly]
    if let negative = counts.first(where: { $0 < 0 }) { throw ValidationError("\(negative) epochs cannot be kept.") }
    if let keepWithin, RetentionSpan(keepWithin) == nil {
      throw ValidationError(
        "'\(keepWithin.prefix(64))' is no length of time; write it like 2d12h (units: y m w d h min), 100000y at most.")
    }
  }

  /// The rules that were asked for; empty when there were none.
  var policy: RetentionPolicy {
    var policy = RetentionPolicy()
    (policy.last, policy.minutely, policy.hourly, policy.daily) = (keepLast, keepMinutely, keepHourly, keepDaily)
    (policy.weekly, policy.monthly, policy.yearly) = (keepWeekly, keepMonthly, keepYearly)
    policy.within = keepWithin.flatMap(RetentionSpan.init)
    policy.tags = Set(keepTag)
    return policy
  }
}
