import FoundationEssentials

/// The last time that a guest was brought back to an epoch in place, and how to undo that. Written before the guest is destroyed.
public struct Rollback: Codable, Hashable, Sendable {
  public var time: EpochTime
  /// The epoch that it was brought back to.
  public var epoch: Int
  /// The epoch that was taken of it right before; nil when none was. No policy removes it until the next rollback.
  public var safetyEpoch: Int?
  /// Why none was taken; empty when one was.
  public var reason: String

  public init(time: EpochTime = .now, epoch: Int, safetyEpoch: Int?, reason: String = "") {
    (self.time, self.epoch, self.safetyEpoch, self.reason) = (time, epoch, safetyEpoch, reason)
  }

  enum CodingKeys: String, CodingKey {
    case time, epoch, reason
    case safetyEpoch = "safety_epoch"
  }
}

extension GuestFolder {
  private var rollbackPath: String { path + "/rollback" }

  /// nil when the guest was never brought back.
  ///
  /// - Throws: `damaged` when that cannot be known.
  public func lastRollback() throws(StoreError) -> Rollback? {
    guard let bytes = try SmallFile.read(rollbackPath) else { return nil }
    guard let rollback = try? JSONDecoder().decode(Rollback.self, from: Data(bytes)) else {
      throw .damaged(path: rollbackPath, what: "it does not tell the last rollback")
    }
    return rollback
  }

  /// The caller holds the exclusive lock.
  public func setLastRollback(_ rollback: Rollback) throws(StoreError) {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    guard let data = try? encoder.encode(rollback) else { preconditionFailure("numbers and words always encode") }
    try SpaceReserve(of: self).whenFull { () throws(StoreError) in
      try self.publish(bytes: Array(data) + Array("\n".utf8), as: self.rollbackPath)
    }
  }
}
