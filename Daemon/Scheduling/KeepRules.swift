public import EpochStore

/// A retention policy as it is written: `{"last": 12, "hourly": 24, "within": "2d", "tags": ["gold"]}`. Rules that are not there
/// keep nothing.
public struct KeepRules: Hashable, Sendable, Codable, CustomStringConvertible {
  public var policy: RetentionPolicy

  public init(_ policy: RetentionPolicy) { self.policy = policy }

  private enum CodingKeys: String, CodingKey, CaseIterable {
    case last, minutely, hourly, daily, weekly, monthly, yearly, within, tags
  }

  private static var counts: [(CodingKeys, WritableKeyPath<RetentionPolicy, Int>)] {
    [
      (.last, \.last), (.minutely, \.minutely), (.hourly, \.hourly), (.daily, \.daily), (.weekly, \.weekly),
      (.monthly, \.monthly), (.yearly, \.yearly),
    ]
  }

  public init(from decoder: any Decoder) throws {
    let container = try decoder.strict(CodingKeys.self)
    policy = RetentionPolicy()
    for (key, path) in Self.counts {
      let count = try container.decodeIfPresent(Int.self, forKey: key) ?? 0
      guard count >= 0 else {
        throw DecodingError.dataCorruptedError(
          forKey: key, in: container, debugDescription: "\(count) epochs cannot be kept")
      }
      policy[keyPath: path] = count
    }
    policy.within = try container.text(.within, "length of time; write it like 2d12h", RetentionSpan.init)
    policy.tags = Set(try container.decodeIfPresent([String].self, forKey: .tags) ?? [])
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    for (key, path) in Self.counts where policy[keyPath: path] > 0 {
      try container.encode(policy[keyPath: path], forKey: key)
    }
    try container.encodeIfPresent(policy.within?.description, forKey: .within)
    if !policy.tags.isEmpty { try container.encode(policy.tags.sorted(), forKey: .tags) }
  }

  /// `last 12, hourly 24, within 2d, tag gold`; `all` for a policy without rules.
  public var description: String {
    var words = Self.counts.filter { policy[keyPath: $1] > 0 }.map { "\($0.stringValue) \(policy[keyPath: $1])" }
    if let within = policy.within { words.append("within \(within)") }
    words += policy.tags.sorted().map { "tag \($0)" }
    return words.isEmpty ? "all" : words.joined(separator: ", ")
  }
}
