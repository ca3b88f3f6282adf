public import EpochStore

/// Which epochs to keep, as ``RetentionPolicy``; what is left out keeps nothing.
public struct KeepRules: Codable, Hashable, Sendable {
  public var last: Int?
  public var minutely: Int?
  public var hourly: Int?
  public var daily: Int?
  public var weekly: Int?
  public var monthly: Int?
  public var yearly: Int?
  /// As `2d12h`.
  public var within: String?
  public var tags: [String]?

  public init() {}

  public init(_ policy: RetentionPolicy) {
    func some(_ count: Int) -> Int? { count == 0 ? nil : count }
    (last, minutely, hourly) = (some(policy.last), some(policy.minutely), some(policy.hourly))
    (daily, weekly) = (some(policy.daily), some(policy.weekly))
    (monthly, yearly) = (some(policy.monthly), some(policy.yearly))
    within = policy.within?.description
    tags = policy.tags.isEmpty ? nil : policy.tags.sorted()
  }

  public var policy: RetentionPolicy {
    var policy = RetentionPolicy()
    (policy.last, policy.minutely, policy.hourly, policy.daily) = (last ?? 0, minutely ?? 0, hourly ?? 0, daily ?? 0)
    (policy.weekly, policy.monthly, policy.yearly) = (weekly ?? 0, monthly ?? 0, yearly ?? 0)
    policy.within = within.flatMap(RetentionSpan.init)
    policy.tags = Set(tags ?? [])
    return policy
  }

  var fault: String? {
    let counts = [last, minutely, hourly, daily, weekly, monthly, yearly].compactMap { $0 }
    if let negative = counts.first(where: { $0 < 0 }) { return "\(negative) epochs cannot be kept" }
    if let within, RetentionSpan(within) == nil { return "'\(within)' is no length of time; write it like 2d12h" }
    return nil
  }
}

/// What a policy would remove. Changes nothing.
public struct PrunePlanRequest: ControlRequest {
  public typealias Answer = [PrunePlanAnswer]
  public static let path = ControlPath.prunePlan

  public var guest: String?
  public var keep: KeepRules
  public var expects: Expectation?
  public var cancelOnDisconnect: Bool?

  public init(guest: String?, keep: KeepRules) {
    self.guest = guest
    self.keep = keep
  }

  public var target: String? { guest }
  public func perform(by service: some ControlService, _ call: Call) throws -> Answer {
    try service.planPrune(self, call)
  }
  public var fault: String? { keep.fault }

  enum CodingKeys: String, CodingKey {
    case guest, keep, expects
    case cancelOnDisconnect = "cancel_on_disconnect"
  }
}

/// Remove what a policy does not keep.
public struct PruneRequest: ControlRequest {
  public typealias Answer = PruneAnswer
  public static let path = ControlPath.prune

  public var guest: String?
  public var keep: KeepRules
  /// By the guests' uuids, the epochs that may go: what the plan said that somebody agreed to. Guests that are not named keep all.
  /// Without it everything that the policy does not keep goes.
  public var agreed: [String: [Int]]?
  public var expects: Expectation?
  public var cancelOnDisconnect: Bool?

  public init(guest: String?, keep: KeepRules, agreed: [String: [Int]]? = nil) {
    self.guest = guest
    self.keep = keep
    self.agreed = agreed
  }

  public var target: String? { guest }
  public func perform(by service: some ControlService, _ call: Call) throws -> Answer {
    try service.prune(self, call)
  }
  public var fault: String? { keep.fault }

  enum CodingKeys: String, CodingKey {
    case guest, keep, agreed, expects
    case cancelOnDisconnect = "cancel_on_disconnect"
  }
}

/// What a policy does to one guest.
public struct PruneReport: Codable, Hashable, Sendable {
  public struct Epoch: Codable, Hashable, Sendable {
    public let epoch: Int
    public let time: String?
    public let keep: Bool
    public let reasons: [String]
  }

  /// What went from one pool.
  public struct Pool: Codable, Hashable, Sendable {
    public let pool: String
    public let snapshots: Int
    /// Snapshots that are in use, and go later.
    public let inUse: Int
    public let freedBytes: UInt64

    enum CodingKeys: String, CodingKey {
      case pool, snapshots
      case inUse = "in_use"
      case freedBytes = "freed_bytes"
    }
  }

  public let guest: String
  public let uuid: String
  public let epochs: [Epoch]
  /// Nothing was removed; `removed` tells what would be.
  public let dryRun: Bool
  public let removed: [Int]
  /// Bytes that the store's file system got back, and those that stay because younger epochs need them.
  public let freedBytes: UInt64
  public let heldBytes: UInt64
  public let pools: [Pool]
  public let notes: [String]

  enum CodingKeys: String, CodingKey {
    case guest, uuid, epochs, removed, pools, notes
    case dryRun = "dry_run"
    case freedBytes = "freed_bytes"
    case heldBytes = "held_bytes"
  }
}

/// What would be removed of one guest.
public struct PrunePlanAnswer: Codable, Hashable, Sendable {
  public let report: PruneReport
  /// Manifests and marks that cannot be read.
  public let warnings: [String]

  public init(report: PruneReport, warnings: [String]) { (self.report, self.warnings) = (report, warnings) }
}

/// What was removed, and what was not.
public struct PruneAnswer: Codable, Hashable, Sendable {
  /// One guest that kept something that should have gone.
  public struct Failure: Codable, Hashable, Sendable {
    public let guest: String
    public let error: ControlFailure

    public init(guest: String, error: ControlFailure) { (self.guest, self.error) = (guest, error) }
  }

  public let reports: [PruneReport]
  public let failures: [Failure]

  public init(reports: [PruneReport], failures: [Failure]) { (self.reports, self.failures) = (reports, failures) }
}
