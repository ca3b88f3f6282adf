/// A policy as it is written: `{"last": 12, "hourly": 24, "within": "2d", "tags": ["gold"]}`. Rules that are not there keep nothing.
extension RetentionPolicy: Codable {
  public enum CodingKeys: String, CodingKey, CaseIterable {
    case last, minutely, hourly, daily, weekly, monthly, yearly, within, tags
  }

  private static var counts: [(CodingKeys, WritableKeyPath<RetentionPolicy, Int>)] {
    [
      (.last, \.last), (.minutely, \.minutely), (.hourly, \.hourly), (.daily, \.daily), (.weekly, \.weekly),
      (.monthly, \.monthly), (.yearly, \.yearly),
    ]
  }

  /// - Throws: `DecodingError`, whose description says what is wrong and what to write.
  public init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    self.init()
    for (key, path) in Self.counts {
      let count = try container.decodeIfPresent(Int.self, forKey: key) ?? 0
      guard count >= 0 else {
        throw DecodingError.dataCorruptedError(
          forKey: key, in: container, debugDescription: "\(count) epochs cannot be kept")
      }
      self[keyPath: path] = count
    }
    if let text = try container.decodeIfPresent(String.self, forKey: .within) {
      guard let span = RetentionSpan(text) else {
        throw DecodingError.dataCorruptedError(
          forKey: .within, in: container,
          debugDescription: "'\(text.prefix(64))' is no length of time; write it like 2d12h, 100000y at most")
      }
      within = span
    }
    tags = Set(try container.decodeIfPresent([String].self, forKey: .tags) ?? [])
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    for (key, path) in Self.counts where self[keyPath: path] > 0 {
      try container.encode(self[keyPath: path], forKey: key)
    }
    try container.encodeIfPresent(within?.description, forKey: .within)
    if !tags.isEmpty { try container.encode(tags.sorted(), forKey: .tags) }
  }
}

extension RetentionPolicy: CustomStringConvertible {
  /// `last 12, hourly 24, within 2d, tag gold`; `all` for a policy without rules.
  public var description: String {
    var words = Self.counts.filter { self[keyPath: $1] > 0 }.map { "\($0.stringValue) \(self[keyPath: $1])" }
    if let within { words.append("within \(within)") }
    words += tags.sorted().map { "tag \($0)" }
    return words.isEmpty ? "all" : words.joined(separator: ", ")
  }
}
