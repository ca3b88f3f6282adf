public import EpochStore

/// What a policy would remove. Changes nothing.
public struct PrunePlanRequest: ControlRequest {
  public typealias Answer = [PrunePlanAnswer]
  public static let path = ControlPath.prunePlan

  public var guest: String?
  public var keep: RetentionPolicy

  public init(guest: String?, keep: RetentionPolicy) {
    self.guest = guest
    self.keep = keep
  }

  public var target: String? { guest }
  public func perform(by service: some ControlService, _ call: Call) throws -> Answer {
    try service.planPrune(self, call)
  }
}

/// Remove what a policy does not keep.
public struct PruneRequest: ControlRequest {
  public typealias Answer = PruneAnswer
  public static let path = ControlPath.prune

  public var guest: String?
  public var keep: RetentionPolicy
  /// By the guests' uuids, the epochs that may go: what the plan said that somebody agreed to. Guests that are not named keep all.
  /// Without it everything that the policy does not keep goes, and of the files that younger epochs need in part 1 GiB is given back at
  /// a time: nobody waits for it.
  public var agreed: [String: [Int]]?

  public init(guest: String?, keep: RetentionPolicy, agreed: [String: [Int]]? = nil) {
    self.guest = guest
    self.keep = keep
    self.agreed = agreed
  }

  public var target: String? { guest }
  public func perform(by service: some ControlService, _ call: Call) throws -> Answer {
    try service.prune(self, call)
  }

  /// Bytes to give back of files that stay.
  var budget: UInt64 { agreed == nil ? Compaction.unattendedBudget : .max }
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
  /// Bytes that the store's file system got back, and those that stay because younger epochs need them, or until the next prune.
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
