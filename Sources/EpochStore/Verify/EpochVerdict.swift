/// How thoroughly an epoch is verified.
public enum VerifyMethod: Hashable, Sendable {
  /// Everything but the content of frames and records: manifest, header, trailer, index, and that every file needed is
  /// there and long enough for the frames named.
  case quick
  /// That, all records, and this share of the frames, above 0 and below 1, drawn anew each time.
  case subset(Double)
  /// That, and every frame and record.
  case full

  /// nil for a name that is none, and for a subset without its share.
  init?(_ name: String, share: Double?) {
    switch (name, share) {
    case ("quick", _): self = .quick
    case ("full", _): self = .full
    case ("subset", let share?): self = .subset(share)
    default: return nil
    }
  }

  public var name: String {
    switch self {
    case .quick: "quick"
    case .subset: "subset"
    case .full: "full"
    }
  }
}

/// What the last verification found of an epoch, as `N.verified` keeps it.
///
/// Damage stays until a full verification finds none: a quicker look that passes proves nothing about it.
public struct EpochVerdict: Hashable, Sendable {
  /// One thing that is wrong.
  public struct Damage: Codable, Hashable, Sendable {
    /// Name of the file in the guest's folder; it may be an older epoch's.
    public let file: String
    public let what: String
  }

  public let epoch: Int
  /// When it was verified.
  public let time: EpochTime
  public let method: VerifyMethod
  /// What was found first, at most ``mostDamage``; empty for an epoch that is sound as far as was looked.
  public let damage: [Damage]
  /// How many places are damaged in all.
  public let damageCount: Int
  /// When a full verification last found no damage; nil: never.
  public let fullTime: EpochTime?

  public static let mostDamage = 8

  public var isDamaged: Bool { damageCount > 0 }
}

extension EpochVerdict.Damage {
  init(_ error: StoreError) {
    switch error {
    case .damaged(let path, let what): self.init(file: Self.name(path), what: what)
    case .system(_, let path, _): self.init(file: Self.name(path), what: error.description)
    default: self.init(file: "", what: error.description)
    }
  }

  private static func name(_ path: String) -> String { String(path.split(separator: "/").last ?? "") }
}

extension EpochVerdict: Codable {
  private enum CodingKeys: String, CodingKey {
    case epoch, time, method, share, result, damage
    case damageCount = "damage_count"
    case fullTime = "full_time"
  }

  public init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    epoch = try container.decode(Int.self, forKey: .epoch)
    time = try container.decode(EpochTime.self, forKey: .time)
    let share = try container.decodeIfPresent(Double.self, forKey: .share)
    guard let known = VerifyMethod(try container.decode(String.self, forKey: .method), share: share) else {
      throw DecodingError.dataCorruptedError(forKey: .method, in: container, debugDescription: "no such method")
    }
    method = known
    damage = try container.decode([Damage].self, forKey: .damage)
    damageCount = try container.decode(Int.self, forKey: .damageCount)
    fullTime = try container.decodeIfPresent(EpochTime.self, forKey: .fullTime)
    guard (damageCount == 0) == damage.isEmpty, damage.count <= max(0, damageCount) else {
      throw DecodingError.dataCorruptedError(
        forKey: .damage, in: container, debugDescription: "it is not as long as it says")
    }
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(epoch, forKey: .epoch)
    try container.encode(time, forKey: .time)
    try container.encode(method.name, forKey: .method)
    if case .subset(let share) = method { try container.encode(share, forKey: .share) }
    try container.encode(isDamaged ? "damaged" : "sound", forKey: .result)
    try container.encode(damage, forKey: .damage)
    try container.encode(damageCount, forKey: .damageCount)
    try container.encodeIfPresent(fullTime, forKey: .fullTime)
  }
}
