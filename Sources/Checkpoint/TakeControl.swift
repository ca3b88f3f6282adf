public import EpochStore
import Glibc
import Synchronization

/// What a take tells while it works, outside the pause.
public enum TakeEvent: Sendable {
  case phase(Phase)
  case round(TakeStatistics.Round)
  /// What a person should know, and what keeps no epoch from being made.
  case note(String)
  /// The last word of a take that made no epoch; whatever it threw is thrown after it.
  case failed(TakeFailure)
}

/// Tells a running take to stop, from a signal handler or another thread.
public final class TakeCancellation: Sendable {
  private let isAtOnce = Atomic(false)
  private let isBeforePause = Atomic(false)
  private let pauseHasBegun = Atomic(false)

  public init() {}

  public func cancel() { isAtOnce.store(true, ordering: .relaxed) }

  /// Stops a take that has not come to its pause; one that has goes on to its end: its guest has paid for the epoch.
  public func cancelBeforePause() { isBeforePause.store(true, ordering: .sequentiallyConsistent) }

  public var isCancelled: Bool {
    isAtOnce.load(ordering: .relaxed)
      || isBeforePause.load(ordering: .sequentiallyConsistent) && !pauseHasBegun.load(ordering: .relaxed)
  }

  /// The last moment to stop before the guest is asked.
  func beginPause() throws {
    try check()
    pauseHasBegun.store(true, ordering: .relaxed)
  }

  func check() throws { if isCancelled { throw CheckpointError.interrupted } }
}

/// Holds live copying back to a rate.
struct RateLimit {
  let bytesPerSecond: Int?
  private let start = ContinuousClock.now
  private var bytes = 0

  init(bytesPerSecond: Int?) { self.bytesPerSecond = bytesPerSecond }

  /// Waits until so many more bytes are within the rate, or `mayGoOn` throws.
  mutating func spend(_ count: Int, _ mayGoOn: () throws -> Void) throws {
    guard let bytesPerSecond else { return }
    bytes += count
    let due = start + .seconds(Double(bytes) / Double(bytesPerSecond))
    while ContinuousClock.now < due {
      try mayGoOn()
      usleep(useconds_t(min(50, max(1, (due - .now).milliseconds)) * 1000))
    }
  }
}
