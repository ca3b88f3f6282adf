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
  private let flag = Atomic(false)

  public init() {}

  public func cancel() { flag.store(true, ordering: .relaxed) }

  public var isCancelled: Bool { flag.load(ordering: .relaxed) }

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
