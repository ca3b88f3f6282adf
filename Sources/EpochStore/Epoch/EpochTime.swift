import Glibc

/// A moment in UTC with milliseconds, written as in ISO 8601: `2026-08-01T12:34:56.789Z`.
public struct EpochTime: Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
  /// Milliseconds since 1970-01-01T00:00:00Z.
  public let milliseconds: Int64

  public init(milliseconds: Int64) { self.milliseconds = milliseconds }

  public static var now: EpochTime {
    var clock = timespec()
    clock_gettime(CLOCK_REALTIME, &clock)
    return EpochTime(milliseconds: Int64(clock.tv_sec) * 1000 + Int64(clock.tv_nsec) / 1_000_000)
  }

  /// Reads exactly the form that `description` writes; nil for anything else.
  public init?(_ text: String) {
    var text = text
    guard let time = text.withUTF8({ EpochTime(utf8: UnsafeRawBufferPointer($0)) }) else { return nil }
    self = time
  }

  init?(utf8 bytes: UnsafeRawBufferPointer) {
    guard bytes.count == 24, bytes[4] == UInt8(ascii: "-"), bytes[7] == UInt8(ascii: "-"),
      bytes[10] == UInt8(ascii: "T"), bytes[13] == UInt8(ascii: ":"), bytes[16] == UInt8(ascii: ":"),
      bytes[19] == UInt8(ascii: "."), bytes[23] == UInt8(ascii: "Z")
    else { return nil }
    func number(_ range: Range<Int>) -> Int? {
      var value = 0
      for byte in bytes[range] {
        guard UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte else { return nil }
        value = value * 10 + Int(byte - UInt8(ascii: "0"))
      }
      return value
    }
    guard let year = number(0..<4), let month = number(5..<7), let day = number(8..<10),
      let hour = number(11..<13), let minute = number(14..<16), let second = number(17..<19),
      let fraction = number(20..<23), 1...12 ~= month, 1...CivilDay.daysInMonth(month, of: year) ~= day,
      hour < 24, minute < 60, second < 60
    else { return nil }
    let days = CivilDay(year: year, month: month, day: day).number
    self.init(milliseconds: Int64(((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + Int64(fraction))
  }

  public var description: String {
    let seconds = seconds
    let day = CivilDay(number: seconds.floor(86400))
    let inDay = seconds - seconds.floor(86400) * 86400
    return "\(day.year.padded(4))-\(day.month.padded(2))-\(day.day.padded(2))T"
      + "\((inDay / 3600).padded(2)):\((inDay / 60 % 60).padded(2)):\((inDay % 60).padded(2))"
      + ".\((Int(milliseconds) - seconds * 1000).padded(3))Z"
  }

  public static func < (left: EpochTime, right: EpochTime) -> Bool { left.milliseconds < right.milliseconds }

  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    guard let time = EpochTime(try container.decode(String.self)) else {
      throw DecodingError.dataCorruptedError(in: container, debugDescription: "not an ISO 8601 UTC time")
    }
    self = time
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}
