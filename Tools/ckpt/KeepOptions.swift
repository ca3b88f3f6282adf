import ArgumentParser
import EpochStore

/// Which epochs stay: the same for a pruning by hand and for one after each scheduled take.
struct KeepOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Keep the newest N.", valueName: "n")) var keepLast: Int?
  @Option(help: ArgumentHelp("Keep the newest of a minute, for N minutes.", valueName: "n")) var keepMinutely: Int?
  @Option(help: ArgumentHelp("Keep the newest of an hour, for N hours.", valueName: "n")) var keepHourly: Int?
  @Option(help: ArgumentHelp("Keep the newest of a day, for N days.", valueName: "n")) var keepDaily: Int?
  @Option(help: ArgumentHelp("Keep the newest of a week, for N weeks.", valueName: "n")) var keepWeekly: Int?
  @Option(help: ArgumentHelp("Keep the newest of a month, for N months.", valueName: "n")) var keepMonthly: Int?
  @Option(help: ArgumentHelp("Keep the newest of a year, for N years.", valueName: "n")) var keepYearly: Int?
  @Option(
    help: ArgumentHelp(
      "Keep all that are not older than this, counted from the newest, like 2d12h (units: y m w d h min).",
      valueName: "duration"))
  var keepWithin: String?
  @Option(help: ArgumentHelp("Keep those with this tag; may be given more than once.", valueName: "tag"))
  var keepTag: [String] = []

  func validate() throws {
    let counts = [keepLast, keepMinutely, keepHourly, keepDaily, keepWeekly, keepMonthly, keepYearly]
    if let negative = counts.compactMap(\.self).first(where: { $0 < 0 }) {
      throw ValidationError("\(negative) epochs cannot be kept.")
    }
    if let keepWithin, RetentionSpan(keepWithin) == nil {
      throw ValidationError(
        "'\(keepWithin.prefix(64))' is no length of time; write it like 2d12h (units: y m w d h min), 100000y at most.")
    }
  }

  /// The rules that were asked for; empty when there were none.
  var policy: RetentionPolicy {
    var policy = RetentionPolicy()
    (policy.last, policy.minutely, policy.hourly) = (keepLast ?? 0, keepMinutely ?? 0, keepHourly ?? 0)
    (policy.daily, policy.weekly) = (keepDaily ?? 0, keepWeekly ?? 0)
    (policy.monthly, policy.yearly) = (keepMonthly ?? 0, keepYearly ?? 0)
    policy.within = keepWithin.flatMap(RetentionSpan.init)
    policy.tags = Set(keepTag)
    return policy
  }
}
