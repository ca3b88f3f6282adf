/// Which epochs to keep. Rules are joined by *or*: what any of them keeps stays.
public struct RetentionPolicy: Hashable, Sendable {
  /// The newest so many.
  public var last = 0
  /// The newest of each calendar minute, for the newest so many minutes that have one. The same below.
  public var minutely = 0
  public var hourly = 0
  public var daily = 0
  /// Weeks begin on Monday.
  public var weekly = 0
  public var monthly = 0
  public var yearly = 0
  /// All that are not older than this, counted from the newest epoch.
  public var within: RetentionSpan?
  /// All that bear one of these tags.
  public var tags: Set<String> = []

  public init() {}

  /// A policy without rules removes nothing.
  public var isEmpty: Bool { self == RetentionPolicy() }
}

/// A length of time by the calendar: `1y6m`, `2w`, `36h`, `90min`.
public struct RetentionSpan: Hashable, Sendable, CustomStringConvertible {
  public private(set) var years = 0
  public private(set) var months = 0
  public private(set) var days = 0
  public private(set) var minutes = 0

  /// 100,000 years: what lies before that is no date any more. Each unit is counted as days, rounded up.
  private static let mostDays = 100_000 * 366

  /// Reads numbers with units: `y` years, `m` months, `w` weeks, `d` days, `h` hours, `min` minutes. nil for anything else, for no
  /// time at all, and for more than 100,000 years in all.
  public init?(_ text: String) {
    var rest = Substring(text)
    while !rest.isEmpty {
      let digits = rest.prefix { $0.isASCII && $0.isNumber }
      rest = rest.dropFirst(digits.count)
      let unit = rest.prefix { $0.isASCII && $0.isLetter }
      rest = rest.dropFirst(unit.count)
      guard let number = Int(digits), number <= 100_000 else { return nil }
      switch unit {
      case "y": years += number
      case "m": months += number
      case "w": days += 7 * number
      case "d": days += number
      case "h": minutes += 60 * number
      case "min": minutes += number
      default: return nil
      }
      guard years * 366 + months * 31 + days + minutes / 1440 <= Self.mostDays else { return nil }
    }
    guard years + months + days + minutes > 0 else { return nil }
  }

  /// In the form that is read, with days for weeks.
  public var description: String {
    func parts(_ number: Int, _ unit: String) -> String {
      // The reader takes no number above its limit, but any count of them.
      let most = 100_000
      return String(repeating: "\(most)\(unit)", count: number / most)
        + (number % most > 0 ? "\(number % most)\(unit)" : "")
    }
    return parts(years, "y") + parts(months, "m") + parts(days, "d") + parts(minutes / 60, "h")
      + parts(minutes % 60, "min")
  }

  /// The instant that lies this long before another: years, months and days by the calendar of the zone, the rest by the clock.
  func before(_ time: EpochTime, _ zone: LocalZone) -> EpochTime {
    guard years + months + days > 0 else {
      return EpochTime(milliseconds: time.milliseconds - Int64(minutes) * 60_000)
    }
    let local = time.seconds + zone.offset(time.seconds)
    let today = CivilDay(number: local.floor(86400))
    let month = today.year * 12 + today.month - 1 - years * 12 - months
    var then = CivilDay(year: month.floor(12), month: month - month.floor(12) * 12 + 1, day: 1)
    // A month before the 31st is the last of a shorter month.
    then.day = min(today.day, CivilDay.daysInMonth(then.month, of: then.year))
    let inDay = local - local.floor(86400) * 86400
    let instant = zone.instant(ofLocal: (then.number - days) * 86400 + inDay) - minutes * 60
    return EpochTime(milliseconds: Int64(instant) * 1000)
  }
}
