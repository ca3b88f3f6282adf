import Checkpoint
public import EpochStore

/// Something that can be asked of the engine, here or behind a socket: a `POST` of ``path`` with this value as JSON.
public protocol ControlRequest: Codable, Sendable {
  associatedtype Answer: Codable & Sendable
  static var path: ControlPath { get }
  /// The guest that it is about, by name, id or uuid; nil for all.
  var target: String? { get }
  /// What is wrong with the values; nil when nothing is.
  var fault: String? { get }
  /// Has it done.
  func perform(by service: some ControlService, _ call: Call) throws -> Answer
}

extension ControlRequest {
  public var fault: String? { nil }

  /// Every fault, of the guest's name too.
  public var anyFault: String? {
    if let target, !(1...256 ~= target.utf8.count) { return "a guest's name has 1 to 256 bytes" }
    return fault
  }
}

/// Take an epoch of a running guest.
public struct TakeRequest: ControlRequest {
  public typealias Answer = EpochManifest
  public static let path = ControlPath.take

  public var guest: String
  /// Bytes per second that may be copied live.
  public var limitRate: Int?
  /// Seconds within which the pause must have begun, and the guest have taken the request to suspend.
  public var timeoutSeconds: Double?
  /// Seconds that the guest may be held; without it what the configuration says.
  public var maxPauseSeconds: Double?
  /// Which epochs stay when room is short; without it what the configuration says.
  public var keep: RetentionPolicy?

  public init(
    guest: String, limitRate: Int? = nil, timeoutSeconds: Double? = nil, maxPauseSeconds: Double? = nil,
    keep: RetentionPolicy? = nil
  ) {
    self.guest = guest
    self.limitRate = limitRate
    self.timeoutSeconds = timeoutSeconds
    self.maxPauseSeconds = maxPauseSeconds
    self.keep = keep
  }

  /// What is asked for, over what the configuration says.
  func applied(to configured: TakeOptions) -> TakeOptions {
    var options = configured
    if let limitRate { options.bytesPerSecond = limitRate }
    options.timeoutSeconds = timeoutSeconds
    if let maxPauseSeconds { options.mostPauseSeconds = maxPauseSeconds }
    if let keep { options.retention = keep }
    return options
  }

  public var target: String? { guest }
  public func perform(by service: some ControlService, _ call: Call) throws -> Answer {
    try service.take(self, call)
  }
  public var fault: String? {
    if let limitRate, limitRate < 1 { return "limit_rate wants bytes per second, not \(limitRate)" }
    if let maxPauseSeconds, !(0.001...3600 ~= maxPauseSeconds) {
      return "max_pause_seconds wants seconds, 0.001 to 3600, not \(maxPauseSeconds)"
    }
    if let timeoutSeconds, !(timeoutSeconds > 0 && timeoutSeconds.isFinite) {
      return "timeout_seconds wants seconds, not \(timeoutSeconds)"
    }
    return nil
  }

  enum CodingKeys: String, CodingKey {
    case guest, keep
    case limitRate = "limit_rate"
    case timeoutSeconds = "timeout_seconds"
    case maxPauseSeconds = "max_pause_seconds"
  }
}

/// End what killed takes left.
public struct RecoverRequest: ControlRequest {
  public typealias Answer = RecoverAnswer
  public static let path = ControlPath.recover

  public var guest: String?
  /// Only what is in the pools and the store, which needs no Xen.
  public var storeOnly: Bool?

  public init(guest: String? = nil, storeOnly: Bool? = nil) { (self.guest, self.storeOnly) = (guest, storeOnly) }

  public var target: String? { guest }
  public func perform(by service: some ControlService, _ call: Call) throws -> Answer {
    try service.recover(self, call)
  }

  enum CodingKeys: String, CodingKey {
    case guest
    case storeOnly = "store_only"
  }
}

/// Check that epochs are what was written.
public struct VerifyRequest: ControlRequest {
  public typealias Answer = [VerifiedAnswer]
  public static let path = ControlPath.verify

  public var guest: String?
  /// Needs a guest.
  public var epoch: EpochReference?
  /// Read everything.
  public var full: Bool?
  /// Read this share of the frames, above 0 and below 1; not with `full`.
  public var subset: Double?

  public init(guest: String?, epoch: EpochReference?, full: Bool? = nil, subset: Double? = nil) {
    self.guest = guest
    self.epoch = epoch
    self.full = full
    self.subset = subset
  }

  public var target: String? { guest }
  public func perform(by service: some ControlService, _ call: Call) throws -> Answer {
    try service.verify(self, call)
  }
  public var method: VerifyMethod { full == true ? .full : subset.map { .subset($0) } ?? .quick }
  public var fault: String? {
    if full == true, subset != nil { return "full and subset exclude each other" }
    if let subset, !(subset > 0 && subset < 1) { return "subset is a share above 0 and below 1, not \(subset)" }
    if epoch != nil, guest == nil { return "an epoch wants its guest" }
    return nil
  }
}
