public import EpochStore

/// When one guest's epochs are taken, and which of them stay.
public struct Schedule: Hashable, Sendable {
  public enum Timing: Hashable, Sendable {
    /// Always so long after the last one.
    case every(Interval)
    /// At the times that an expression of systemd names (systemd.time(7), "Calendar Events").
    case calendar(String)
  }

  /// The guest's name, which outlives its uuid: a guest that is created anew may get another. Or a uuid.
  public let guest: String
  public let timing: Timing
  /// A run comes later than planned by 0 up to this, always the same for a guest and a time, so that guests do not all come at once.
  public let jitter: Interval
  /// The longest pause, in seconds; nil: what the configuration says.
  public let maxPauseSeconds: Double?
  /// What stays after each take; an empty policy removes nothing.
  public let keep: RetentionPolicy
  public var isPaused: Bool
  /// When the timing was set, or went on after it was paused: no run before this is a missed one.
  public var since: EpochTime

  /// - Throws: `badValue`, which says what is wrong and what to write. A calendar expression's words are not looked at here.
  public init(
    guest: String, timing: Timing, jitter: Interval = Interval(seconds: 0), maxPauseSeconds: Double? = nil,
    keep: RetentionPolicy = RetentionPolicy(), isPaused: Bool = false, since: EpochTime
  ) throws(ScheduleError) {
    try Self.check(guest: guest)
    (self.guest, self.timing, self.jitter, self.maxPauseSeconds) = (guest, timing, jitter, maxPauseSeconds)
    (self.keep, self.isPaused, self.since) = (keep, isPaused, since)
    switch timing {
    case .every(let interval):
      guard interval.seconds >= 1 else { throw .badValue("epochs cannot be taken every \(interval); write 1s or more") }
      guard jitter < interval else {
        throw .badValue("a jitter of \(jitter) is not shorter than the interval, \(interval)")
      }
    case .calendar(let expression):
      guard 1...256 ~= expression.utf8.count, Self.isPlain(expression) else {
        throw .badValue("a calendar expression is one line of 1 to 256 bytes")
      }
      guard jitter.seconds <= 86400 else { throw .badValue("a jitter of \(jitter) is longer than a day") }
    }
    if let maxPauseSeconds, !(0.001...3600 ~= maxPauseSeconds) {
      throw .badValue("a pause of \(maxPauseSeconds) s cannot be the longest; write 0.001 to 3600 seconds")
    }
  }

  /// Whether both have the same slots. What was planned by one then holds for the other, also when the wall clock was set since.
  func hasTimes(of other: Schedule) -> Bool {
    (timing, jitter, isPaused, since) == (other.timing, other.jitter, other.isPaused, other.since)
  }

  private static func check(guest: String) throws(ScheduleError) {
    guard 1...255 ~= guest.utf8.count, isPlain(guest), guest.first != " ", guest.last != " " else {
      throw .badValue("'\(guest.filter { isPlain(String($0)) }.prefix(64))' is no name of a guest")
    }
    guard !guest.allSatisfy(\.isNumber) else {
      throw .badValue("'\(guest)' is a domain's number, which changes with every start; give the guest's name")
    }
  }

  /// No control characters: the text is shown in lines and tables.
  private static func isPlain(_ text: String) -> Bool {
    text.unicodeScalars.allSatisfy { $0.value >= 32 && !(0x7f...0x9f ~= $0.value) }
  }
}

extension Schedule.Timing: CustomStringConvertible {
  public var description: String {
    switch self {
    case .every(let interval): "every \(interval)"
    case .calendar(let expression): expression
    }
  }
}
