public import EpochStore

/// What a recovery did.
public struct RecoverAnswer: Codable, Hashable, Sendable {
  public enum Outcome: String, Codable, Sendable { case resumed, withdrawn, running, ended }

  public struct Guest: Codable, Hashable, Sendable {
    public let guest: String
    public let domain: UInt32
    public let outcome: Outcome

    public init(guest: String, domain: UInt32, outcome: Outcome) {
      (self.guest, self.domain, self.outcome) = (guest, domain, outcome)
    }
  }

  /// Devices that stood suspended and run again.
  public let devices: [String]
  public let guests: [Guest]
  /// Guests whose log of dirty pages was left on, and is off.
  public let logs: [String]
  /// What was removed or settled, a line each.
  public let swept: [String]
  /// What could not be ended, and why.
  public let failures: [String]
  /// Restores that did not end, and the next command, a line each; nil from a ckptd that did not look.
  public let unfinished: [String]?

  public init(
    devices: [String], guests: [Guest], logs: [String], swept: [String], failures: [String], unfinished: [String] = []
  ) {
    (self.devices, self.guests, self.logs, self.swept, self.failures) = (devices, guests, logs, swept, failures)
    self.unfinished = unfinished
  }

  /// What is left to somebody, a line each.
  public var open: [String] { unfinished ?? [] }
  /// There was nothing to recover.
  public var isEmpty: Bool { lines.isEmpty && failures.isEmpty && open.isEmpty }

  /// What was done, a line each.
  public var lines: [String] {
    devices.map { "\($0): was suspended, runs again" }
      + guests.map { "\($0.guest) (domain \($0.domain)): \($0.outcome.text)" }
      + logs.map { "\($0): its log of dirty pages was left on, it is off" } + swept
  }
}

extension RecoverAnswer.Outcome {
  fileprivate var text: String {
    switch self {
    case .resumed: "was suspended, runs again"
    case .withdrawn: "had not taken the request yet; it is withdrawn, the guest runs"
    case .running: "runs; only the note of the killed take was left"
    case .ended: "does not run any more; there was nothing to resume"
    }
  }
}

/// What is known of one epoch after a verification: a verdict, or why there is none.
public struct VerifiedAnswer: Sendable {
  public let guest: String
  public let uuid: String
  public let epoch: Int
  /// nil: it could not be verified.
  public let verdict: EpochVerdict?
  /// Why it could not be verified, or why the verdict could not be kept.
  public let error: String?

  public init(guest: String, uuid: String, epoch: Int, verdict: EpochVerdict?, error: String?) {
    (self.guest, self.uuid, self.epoch, self.verdict, self.error) = (guest, uuid, epoch, verdict, error)
  }

  public var isSound: Bool { verdict?.isDamaged == false }
}

extension VerifiedAnswer: Codable {
  private enum CodingKeys: String, CodingKey { case guest, uuid, epoch, result, error }
  /// The `result` of an epoch without a verdict; other results are a verdict's own.
  private static let unverified = "unverified"

  public init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    guest = try container.decode(String.self, forKey: .guest)
    uuid = try container.decode(String.self, forKey: .uuid)
    epoch = try container.decode(Int.self, forKey: .epoch)
    error = try container.decodeIfPresent(String.self, forKey: .error)
    let result = try container.decode(String.self, forKey: .result)
    verdict = result == Self.unverified ? nil : try EpochVerdict(from: decoder)
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(guest, forKey: .guest)
    try container.encode(uuid, forKey: .uuid)
    if let verdict {
      try verdict.encode(to: encoder)
    } else {
      try container.encode(epoch, forKey: .epoch)
      try container.encode(Self.unverified, forKey: .result)
    }
    try container.encodeIfPresent(error, forKey: .error)
  }
}
