import Checkpoint
import Glibc

/// SIGINT, SIGTERM and SIGHUP end a take of this process in order.
enum Interrupts {
  /// A signal handler may touch nothing but this.
  nonisolated(unsafe) private static var target: TakeCancellation?

  static func cancel(_ cancellation: TakeCancellation) {
    target = cancellation
    for number in [SIGINT, SIGTERM, SIGHUP] { signal(number) { _ in Interrupts.target?.cancel() } }
  }
}
