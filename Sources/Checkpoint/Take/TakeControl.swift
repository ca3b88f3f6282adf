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

  /// Somebody wants it to stop, whether or not what is at work does: what comes after that need not begin.
  public var isWanted: Bool {
    isAtOnce.load(ordering: .relaxed) || isBeforePause.load(ordering: .sequentiallyConsistent)
  }

  /// The last moment to stop before the guest is asked.
  func beginPause() throws {
    try check()
    pauseHasBegun.store(true, ordering: .relaxed)
  }

  func check() throws { if isCancelled { throw CheckpointError.interrupted } }
}

/// The time that a take has to come to its pause.
struct TakeTime: Sendable {
  let guest: String
  /// nil: no limit.
  let seconds: Double?
  let began: ContinuousClock.Instant
  let cancellation: TakeCancellation

  /// Thrown out of a take that was told to stop, or that has no more time.
  func check() throws {
    try cancellation.check()
    guard let seconds, (ContinuousClock.now - began).milliseconds > seconds * 1000 else { return }
    throw CheckpointError.timedOut(guest: guest, seconds: seconds)
  }
}

/// Holds live copying back to a rate.
struct RateLimit {
  let bytesPerSecond: Int?
  /// When all that was spent is within the rate.
  private(set) var due = ContinuousClock.now

  init(bytesPerSecond: Int?) { self.bytesPerSecond = bytesPerSecond }

  /// Bytes to copy between two waits: what the rate allows in a tenth of a second, so that no moment is far above it. With a low
  /// rate 1 MiB, which guest and disk hardly feel; with a high one it is enough for all threads.
  var piece: Int { bytesPerSecond.map { max(1 << 20, $0 / 10) } ?? .max }

  /// Waits until so many more bytes are within the rate, or `mayGoOn` throws.
  mutating func spend(_ count: Int, _ mayGoOn: () throws -> Void) throws {
    charge(count, at: .now)
    while ContinuousClock.now < due {
      try mayGoOn()
      usleep(useconds_t(min(50, max(1, (due - .now).milliseconds)) * 1000))
    }
  }

  /// Time in which less was copied is not made up for by more later.
  mutating func charge(_ count: Int, at now: ContinuousClock.Instant) {
    guard let bytesPerSecond else { return }
    due = max(now, due + .seconds(Double(count) / Double(bytesPerSecond)))
  }
}
