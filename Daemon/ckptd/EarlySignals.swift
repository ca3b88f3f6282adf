import Glibc
import ServiceLifecycle
import Synchronization

/// Signals that come before the group of services listens to them: the recovery at the start is finished first, as one at work later is.
/// A guest that it watches would stay suspended without it. Where this service ends by itself, the group is to end in order.
struct EarlySignals: Service {
  private static let last = Atomic<Int32>(0)
  /// The group asks for its signals before its services run, and has them an instant later.
  private static let window = Duration.seconds(5)

  /// That one came.
  let wasTold: @Sendable () -> Bool

  /// Holds back the signals that would end the process.
  static func held() -> EarlySignals {
    last.store(0, ordering: .relaxed)
    for number in [SIGTERM, SIGINT] { signal(number) { EarlySignals.last.store($0, ordering: .relaxed) } }
    return EarlySignals { last.load(ordering: .relaxed) != 0 }
  }

  func run() async throws {
    let end = ContinuousClock.now + Self.window
    try? await cancelWhenGracefulShutdown {
      while ContinuousClock.now < end, !wasTold() { try await Task.sleep(for: .milliseconds(50)) }
    }
    if !wasTold() { try? await gracefulShutdown() }
  }
}
