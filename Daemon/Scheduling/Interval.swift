/// A length of time in whole seconds, as people write it: `30s`, `5m`, `1h30m`, `2d`.
public struct Interval: Hashable, Comparable, Sendable, CustomStringConvertible {
  public let seconds: Int

  public init(seconds: Int) { self.seconds = seconds }

  /// Reads numbers with units: `s` seconds, `m` or `min` minutes, `h` hours, `d` days of 24 hours, `w` weeks. nil for anything else,
  /// and for more than 366 days.
  public init?(_ text: String) {
    var seconds = 0
    var rest = Substring(text)
    repeat {
      let digits = rest.prefix { $0.isASCII && $0.isNumber }
      rest = rest.dropFirst(digits.count)
      let unit = rest.prefix { $0.isASCII && $0.isLetter }
      rest = rest.dropFirst(unit.count)
      guard let length = Self.units[String(unit)], let number = Int(digits), number <= Self.most.seconds else {
        return nil
      }
      seconds += number * length
      guard seconds <= Self.most.seconds else { return nil }
    } while !rest.isEmpty
    self.seconds = seconds
  }

  private static let units = ["s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400]
  static let most = Interval(seconds: 366 * 86400)
  static let none = Interval(seconds: 0)

  var milliseconds: Int64 { Int64(seconds) * 1000 }

  public var description: String {
    let parts = [(seconds / 86400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")]
    let text = parts.filter { $0.0 > 0 }.map { "\($0)\($1)" }.joined()
    return text.isEmpty ? "0s" : text
  }

  public static func < (left: Interval, right: Interval) -> Bool { left.seconds < right.seconds }
}
