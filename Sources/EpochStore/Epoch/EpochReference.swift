import Glibc

/// How people name an epoch of a guest: by its number, from the newest back, by a tag, or by time.
public enum EpochReference: Hashable, Sendable {
  case number(Int)
  /// 1 is the newest, 2 the one before it.
  case newest(Int)
  case tag(String)
  /// The newest epoch at or before this instant.
  case time(EpochTime)

  public static let latest = EpochReference.newest(1)

  /// Reads `7`, `latest`, `-1`, `-2`, a tag, or `@2026-11-21T10:00` with seconds and `Z` or `+01:00` where wanted.
  ///
  /// - Parameter zone: for times that name no other.
  /// - Throws: `invalid` for what can name no epoch.
  public init(_ text: String, zone: LocalZone = .system) throws(StoreError) {
    if text.hasPrefix("@") {
      guard let time = EpochTime(people: text.dropFirst(), zone: zone) else {
        throw .invalid(
          "'\(text.prefix(64))' is no time; write it like @2026-11-21T10:00, and Z or +01:00 after it for another zone")
      }
      self = .time(time)
    } else if text == "latest" {
      self = .latest
    } else if let number = Self.digits(text) {
      self = .number(number)
    } else if text.hasPrefix("-"), let back = Self.digits(text.dropFirst()), back > 0 {
      self = .newest(back)
    } else if EpochMarks.isTag(text), !text.hasPrefix("-"), !Self.isNumber(text) {
      self = .tag(text)
    } else {
      throw .invalid(
        "'\(text.prefix(64))' names no epoch; say a number, latest, -1, a tag, or a time like @2026-11-21T10:00")
    }
  }

  /// Why a tag could not be told from another name of an epoch; nil when it can.
  static func confusion(of tag: String) -> String? {
    if tag == "latest" { return "'latest' is the newest epoch" }
    if isNumber(tag) { return "'\(tag.prefix(64))' is the number of an epoch" }
    if tag.hasPrefix("-") { return "'\(tag.prefix(64))' would be counted from the newest epoch" }
    return nil
  }

  private static func isNumber(_ text: some StringProtocol) -> Bool {
    !text.isEmpty && text.utf8.allSatisfy { UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 }
  }

  /// nil for what is no number, and for one that no epoch can have.
  private static func digits(_ text: some StringProtocol) -> Int? {
    guard isNumber(text), let number = Int(text), number <= EpochFormat.epochLimit else { return nil }
    return number
  }
}

extension EpochReference: CustomStringConvertible, ExpressibleByIntegerLiteral {
  public var description: String {
    switch self {
    case .number(let number): "\(number)"
    case .newest(1): "latest"
    case .newest(let back): "-\(back)"
    case .tag(let tag): tag
    case .time(let time): "@\(time)"
    }
  }

  public init(integerLiteral number: Int) { self = .number(number) }
}

/// In JSON a number is a number, anything else its text; times are in UTC there.
extension EpochReference: Codable {
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    let text = try (try? container.decode(Int.self)).map { "\($0)" } ?? container.decode(String.self)
    do { try self.init(text, zone: .utc) } catch {
      throw DecodingError.dataCorruptedError(in: container, debugDescription: error.description)
    }
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    if case .number(let number) = self { try container.encode(number) } else { try container.encode(description) }
  }
}

extension EpochTime {
  /// Reads a time as people write it: `2026-11-21T10:00`, with `:30` or `:30.5` after it, and with `Z`, `+01:00` or `-0530`.
  /// nil for anything else.
  init?(people text: Substring, zone: LocalZone) {
    let form =
      #/([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2})(:[0-9]{2}(?:\.[0-9]{1,3})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?/#
    guard let (_, minute, second, offset) = text.wholeMatch(of: form)?.output else { return nil }
    var rest = String(second ?? ":00")
    if !rest.contains(".") { rest += "." }
    rest += String(repeating: "0", count: 7 - rest.utf8.count)
    // The wall's clock, as if it stood in Greenwich.
    guard let wall = EpochTime("\(minute)\(rest)Z") else { return nil }
    let instant: Int
    if let offset {
      guard let east = Self.seconds(offset: offset) else { return nil }
      instant = wall.seconds - east
    } else {
      instant = zone.instant(ofLocal: wall.seconds)
    }
    self.init(milliseconds: wall.milliseconds + Int64(instant - wall.seconds) * 1000)
  }

  /// Seconds east of UTC.
  private static func seconds(offset: Substring) -> Int? {
    if offset == "Z" { return 0 }
    let digits = offset.dropFirst().filter { $0 != ":" }
    guard let hours = Int(digits.prefix(2)), let minutes = Int(digits.suffix(2)), hours <= 14, minutes < 60 else {
      return nil
    }
    return (hours * 60 + minutes) * (offset.hasPrefix("-") ? -60 : 60)
  }
}
