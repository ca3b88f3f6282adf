import Checkpoint
public import EpochStore

/// Remove epochs of a guest with their disks. Younger epochs keep what they need of them.
public struct RemoveRequest: ControlRequest {
  public typealias Answer = RemoveAnswer
  public static let path = ControlPath.remove

  public var guest: String
  public var epochs: [EpochReference]
  /// Pinned ones too.
  public var force: Bool?
  /// Only tell which epochs are meant.
  public var dryRun: Bool?

  public init(guest: String, epochs: [EpochReference], force: Bool? = nil, dryRun: Bool? = nil) {
    self.guest = guest
    self.epochs = epochs
    self.force = force
    self.dryRun = dryRun
  }

  public var target: String? { guest }
  public func perform(by service: some ControlService, _ call: Call) throws -> Answer {
    try service.remove(self, call)
  }
  public var fault: String? { epochs.isEmpty ? "epochs names none" : nil }

  enum CodingKeys: String, CodingKey {
    case guest, epochs, force
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

  enum CodingKeys: String, CodingKey {
    case guest, uuid, removed, pools, notes
    case dryRun = "dry_run"
    case freedBytes = "freed_bytes"
    case heldBytes = "held_bytes"
    case poolProblem = "pool_problem"
  }
}

extension EngineService {
  public func remove(_ request: RemoveRequest, _ call: Call) throws -> RemoveAnswer {
    let plan = try engine.removePlan(request.guest, epochs: request.epochs, force: request.force == true)
    try call.mayGoOn()
    let done = request.dryRun == true ? nil : try engine.remove(plan, cancellation: call.cancellation)
    return RemoveAnswer(
      guest: plan.guest, uuid: plan.uuid, dryRun: done == nil, removed: plan.epochs, freedBytes: done?.freedBytes ?? 0,
      heldBytes: done?.heldBytes ?? 0, pools: (done?.pools ?? []).map(PruneReport.Pool.init),
      notes: done?.notes ?? [], poolProblem: done?.poolProblem)
  }
}

extension PruneReport.Pool {
  init(_ pool: DiskHistory.Forgotten) {
    self.init(pool: pool.pool, snapshots: pool.snapshots, inUse: pool.inUse, freedBytes: pool.freedBytes)
  }
}
