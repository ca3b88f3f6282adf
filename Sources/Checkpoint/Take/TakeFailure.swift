import EpochStore
import Xen

/// A take that made no epoch.
public struct TakeFailure: Sendable, Equatable {
  public enum Kind: String, Sendable, CaseIterable {
    /// Something went wrong.
    case failed
    /// There is no room for an epoch; the guest was not asked.
    case skipped
    /// Another take, restore or tool works on the guest or its pool.
    case busy
    /// Somebody told it to stop.
    case interrupted
  }

  public var kind: Kind
  /// Where it ended.
  public var phase: Phase
  /// The error's words.
  public var message: String

  public init(_ error: any Error, in phase: Phase) {
    (self.phase, message) = (phase, "\(error)")
    kind =
      switch error {
      case CheckpointError.noRoom, StoreError.full, PoolError.nearlyFull: .skipped
      case CheckpointError.beingSaved, CheckpointError.takeRuns, CheckpointError.inPause, StoreError.locked,
        PoolError.locked, XenError.busy:
        .busy
      case CheckpointError.interrupted: .interrupted
      default: .failed
      }
  }
}
