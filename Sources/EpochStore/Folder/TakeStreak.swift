import FoundationEssentials
import Glibc

/// How the last takes of a guest went: a small file in its folder, so that whoever takes the next one, and whoever looks, knows.
public struct TakeStreak: Codable, Hashable, Sendable {
  /// A take that made no epoch.
  public struct Failure: Codable, Hashable, Sendable {
    public var time: EpochTime
    /// `failed`, `skipped`, or `busy` where takes were kept out for long.
    public var kind: String
    public var phase: String
    public var message: String

    public init(time: EpochTime = .now, kind: String, phase: String, message: String) {
      // Far above any message of ours; a tool's words are in some.
      (self.time, self.kind, self.phase, self.message) = (time, kind, phase, String(message.prefix(2000)))
    }
  }

  /// Takes in a row that others kept out, up to the last one.
  public struct BusyRow: Codable, Hashable, Sendable {
    /// When the first of them was.
    public var since: EpochTime
    public var takes = 0
    /// There are so many, for so long, that they count as failures.
    public var isCounted = false

    public init(since: EpochTime) { self.since = since }

    enum CodingKeys: String, CodingKey {
      case since, takes
      case isCounted = "counted"
    }
  }

  /// Takes in a row that made no epoch, up to the last one.
  public var failures = 0
  /// Somebody was told of them.
  public var isTold = false
  /// The last one, of this row or an earlier one.
  public var lastFailure: Failure?
  /// nil when the last take was not kept out.
  public var busy: BusyRow?

  public init() {}

  enum CodingKeys: String, CodingKey {
    case failures, busy
    case isTold = "told"
    case lastFailure = "last_failure"
  }
}

extension GuestFolder {
  private var streakPath: String { path + "/takes" }

  /// Nothing happened yet when the file is missing, or cannot be read.
  public var streak: TakeStreak {
    guard let file = try? StoreFile.open(streakPath, O_RDONLY), let size = try? file.regularSize(), size <= 64 << 10,
      let bytes = try? file.read(count: Int(size), at: 0),
      let streak = try? JSONDecoder().decode(TakeStreak.self, from: Data(bytes))
    else { return TakeStreak() }
    return streak
  }

  public func setStreak(_ streak: TakeStreak) throws(StoreError) {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    guard let data = try? encoder.encode(streak) else { preconditionFailure("numbers and words always encode") }
    try publish(bytes: Array(data) + Array("\n".utf8), as: streakPath)
  }
}
