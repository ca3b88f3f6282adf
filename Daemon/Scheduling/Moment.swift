public import EpochStore

/// What the clocks show at one instant.
public struct Moment: Hashable, Sendable {
  /// The clock that people and calendars go by, and that somebody may set.
  public var wall: EpochTime
  /// Milliseconds of a clock that nobody sets and that goes on while the host sleeps (CLOCK_BOOTTIME).
  public var uptime: Int64

  public init(wall: EpochTime, uptime: Int64) { (self.wall, self.uptime) = (wall, uptime) }
}

extension EpochTime {
  static func + (time: EpochTime, milliseconds: Int64) -> EpochTime {
    EpochTime(milliseconds: time.milliseconds + milliseconds)
  }

  /// Milliseconds from one to the other.
  static func - (later: EpochTime, earlier: EpochTime) -> Int64 { later.milliseconds - earlier.milliseconds }
}

extension Int {
  /// Division that rounds down, below zero too.
  func floor(_ divisor: Int) -> Int {
    let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
    return remainder < 0 ? quotient - 1 : quotient
  }
}
