public import Checkpoint
public import EpochStore

/// Bring a guest back to an epoch, or start the epoch as a guest of its own. Once everything is verified, and before anything is
/// destroyed, the asker is asked (``ControlEvent/confirm(_:)``). A clone destroys nothing.
public struct RestoreRequest: ControlRequest {
  public typealias Answer = RestoreAnswer
  public static let path = ControlPath.restore

  public var guest: String
  public var epoch: EpochReference
  /// Start a clone of this name beside the guest.
  public var clone: String?
  /// Leave what is started paused.
  public var paused: Bool?
  /// Turn the disks back and start nothing.
  public var disksOnly: Bool?
  /// False: take no epoch of the running guest before it is destroyed.
  public var safety: Bool?
  /// Only tell what would be done.
  public var dryRun: Bool?
  /// Do not ask.
  public var yes: Bool?

  public init(guest: String, epoch: EpochReference) {
    self.guest = guest
    self.epoch = epoch
  }

  public var target: String? { guest }
  public func perform(by service: some ControlService, _ call: Call) throws -> Answer {
    try service.restore(self, call)
  }
  public var fault: String? {
    if disksOnly == true, paused == true { return "disks_only starts nothing that could be paused" }
    if disksOnly == true, clone != nil { return "disks_only is for a restore in place, clone is none" }
    return nil
  }

  var options: RestoreOptions {
    var options = RestoreOptions()
    options.start = disksOnly == true ? .nothing : paused == true ? .paused : .running
    options.safety = safety ?? true
    return options
  }

  enum CodingKeys: String, CodingKey {
    case guest, epoch, clone, paused, safety, yes
    case disksOnly = "disks_only"
    case dryRun = "dry_run"
  }
}

/// Bring a guest back to what it was before it was last brought back. The same as a restore of the epoch that was taken then.
public struct UndoRequest: ControlRequest {
  public typealias Answer = RestoreAnswer
  public static let path = ControlPath.undo

  public var guest: String
  public var paused: Bool?
  public var safety: Bool?
  public var dryRun: Bool?
  public var yes: Bool?

  public init(guest: String) { self.guest = guest }

  public var target: String? { guest }
  public func perform(by service: some ControlService, _ call: Call) throws -> Answer {
    try service.undo(self, call)
  }

  func restore(of epoch: Int) -> RestoreRequest {
    var request = RestoreRequest(guest: guest, epoch: .number(epoch))
    (request.paused, request.safety, request.dryRun, request.yes) = (paused, safety, dryRun, yes)
    return request
  }

  enum CodingKeys: String, CodingKey {
    case guest, paused, safety, yes
    case dryRun = "dry_run"
  }
}

/// What a restore came to, or would.
public struct RestoreAnswer: Codable, Hashable, Sendable {
  public struct Step: Codable, Hashable, Sendable {
    public let name: String
    public let ms: Double

    public init(name: String, ms: Double) { (self.name, self.ms) = (name, ms) }
  }

  /// Name and uuid of what runs now: the clone's, if it is one.
  public let guest: String
  public let uuid: String
  public let epoch: Int
  /// The new domain; nil when nothing was started.
  public let domain: UInt32?
  /// The epoch that was taken of the guest before it was destroyed, by this restore or by an earlier one that did not end.
  public let safetyEpoch: Int?
  /// In order.
  public let steps: [Step]
  public let plan: RestorePlan
  /// Nothing was done; the plan tells what would be.
  public let dryRun: Bool

  public init(
    guest: String, uuid: String, epoch: Int, domain: UInt32?, safetyEpoch: Int? = nil, steps: [Step],
    plan: RestorePlan, dryRun: Bool = false
  ) {
    (self.guest, self.uuid, self.epoch, self.domain, self.steps) = (guest, uuid, epoch, domain, steps)
    (self.safetyEpoch, self.plan, self.dryRun) = (safetyEpoch, plan, dryRun)
  }

  enum CodingKeys: String, CodingKey {
    case guest, uuid, epoch, domain, steps, plan
    case safetyEpoch = "safety_epoch"
    case dryRun = "dry_run"
  }
}
