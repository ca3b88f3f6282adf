import Checkpoint
public import EpochStore

/// Remove epochs of a guest with their disks. Younger epochs keep what they need of them.
public struct RemoveRequest: ControlRequest {
  public typealias Answer = RemoveAnswer
  public static let path = ControlPath.remove

  public var guest: String
  /// None with `all`.
  public var epochs: [EpochReference]
  /// Pinned ones too.
  public var force: Bool?
  /// Every epoch that there is, and what the store knows of the guest besides when nothing is left of it: it does not run, and has
  /// neither disks in a pool nor a schedule.
  public var all: Bool?
  /// With `all`, the epochs that may go: what somebody agreed to.
  public var agreed: [Int]?
  /// Only tell which epochs are meant.
  public var dryRun: Bool?

  public init(
    guest: String, epochs: [EpochReference] = [], force: Bool? = nil, all: Bool? = nil, agreed: [Int]? = nil,
    dryRun: Bool? = nil
  ) {
    self.guest = guest
    self.epochs = epochs
    self.force = force
    self.all = all
    self.agreed = agreed
    self.dryRun = dryRun
  }

  public init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    guest = try container.decode(String.self, forKey: .guest)
    epochs = try container.decodeIfPresent([EpochReference].self, forKey: .epochs) ?? []
    force = try container.decodeIfPresent(Bool.self, forKey: .force)
    all = try container.decodeIfPresent(Bool.self, forKey: .all)
    agreed = try container.decodeIfPresent([Int].self, forKey: .agreed)
    dryRun = try container.decodeIfPresent(Bool.self, forKey: .dryRun)
  }

  public var target: String? { guest }
  public func perform(by service: some ControlService, _ call: Call) throws -> Answer {
    try service.remove(self, call)
  }
  public var fault: String? {
    if all == true { return epochs.isEmpty ? nil : "all and epochs exclude each other" }
    if agreed != nil { return "agreed wants all" }
    return epochs.isEmpty ? "epochs names none" : nil
  }

  enum CodingKeys: String, CodingKey {
    case guest, epochs, force, all, agreed
    case dryRun = "dry_run"
  }
}

/// What was removed.
public struct RemoveAnswer: Codable, Hashable, Sendable {
  public let guest: String
  public let uuid: String
  /// Nothing was removed; `removed` tells what would be.
  public let dryRun: Bool
  public let removed: [Int]
  /// Bytes that the store's file system got back, and those that stay because younger epochs need them.
  public let freedBytes: UInt64
  public let heldBytes: UInt64
  public let pools: [PruneReport.Pool]
  public let notes: [String]
  /// Why snapshots were left in the pools; the next removal or take removes them.
  public let poolProblem: String?
  /// What the store knew of the guest is gone as well; nil unless all was asked for, and done.
  public let folderRemoved: Bool?

  enum CodingKeys: String, CodingKey {
    case guest, uuid, removed, pools, notes
    case dryRun = "dry_run"
    case freedBytes = "freed_bytes"
    case heldBytes = "held_bytes"
    case poolProblem = "pool_problem"
    case folderRemoved = "folder_removed"
  }
}

extension RemoveAnswer {
  /// - Parameters:
  ///   - done: nil for a plan that is only shown.
  ///   - guest: of the removal of all epochs, whose notes tell what is left, too.
  fileprivate init(_ plan: RemovePlan, _ done: Pruned?, _ guest: RemovedGuest? = nil) {
    self.init(
      guest: plan.guest, uuid: plan.uuid, dryRun: done == nil, removed: plan.epochs, freedBytes: done?.freedBytes ?? 0,
      heldBytes: done?.heldBytes ?? 0, pools: (done?.pools ?? []).map(PruneReport.Pool.init),
      notes: (done?.notes ?? []) + (guest?.remains ?? []), poolProblem: done?.poolProblem, folderRemoved: guest?.isGone)
  }
}

extension EngineService {
  public func remove(_ request: RemoveRequest, _ call: Call) throws -> RemoveAnswer {
    if request.all == true { return try removeAll(request, call) }
    let plan = try engine.removePlan(request.guest, epochs: request.epochs, force: request.force == true)
    try call.mayGoOn()
    if request.dryRun == true { return RemoveAnswer(plan, nil) }
    return RemoveAnswer(plan, try engine.remove(plan, cancellation: call.cancellation))
  }

  private func removeAll(_ request: RemoveRequest, _ call: Call) throws -> RemoveAnswer {
    let plan = try engine.removeAllPlan(
      request.guest, only: request.agreed.map { Set($0) }, force: request.force == true)
    try call.mayGoOn()
    if request.dryRun == true { return RemoveAnswer(plan, nil) }
    let done = try engine.removeAll(plan, scheduled: scheduled, cancellation: call.cancellation)
    // The next take, if one comes, builds on nothing of it.
    memories?.forget(plan.uuid)
    return RemoveAnswer(plan, done.pruned, done)
  }
}

extension PruneReport.Pool {
  init(_ pool: DiskHistory.Forgotten) {
    self.init(pool: pool.pool, snapshots: pool.snapshots, inUse: pool.inUse, freedBytes: pool.freedBytes)
  }
}
