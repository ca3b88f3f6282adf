import Checkpoint
import Glibc

/// SIGINT, SIGTERM and SIGHUP end in order what this process is at: a take, an export, an import, a comparison.
enum Interrupts {
  /// A signal handler may touch nothing but this.
  nonisolated(unsafe) private static var target: TakeCancellation?

  static func cancel(_ cancellation: TakeCancellation) {
    target = cancellation
    for number in [SIGINT, SIGTERM, SIGHUP] { signal(number) { _ in Interrupts.target?.cancel() } }
  }
}
