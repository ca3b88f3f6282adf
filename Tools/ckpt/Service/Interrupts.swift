import Checkpoint
import Glibc

/// SIGINT, SIGTERM and SIGHUP end in order what this process is at: a take, an export, an import, a comparison.
enum Interrupts {
  /// A signal handler may touch nothing but this.
  nonisolated(unsafe) private static var target: TakeCancellation?

  static func cancel(_ cancellation: TakeCancellation) {
    target = cancellation
    // Whoever started us may have blocked them: threads of Dispatch do, and a child inherits that.
    var heard = sigset_t()
    sigemptyset(&heard)
    for number in [SIGINT, SIGTERM, SIGHUP] {
      signal(number) { _ in Interrupts.target?.cancel() }
      sigaddset(&heard, number)
    }
    pthread_sigmask(SIG_UNBLOCK, &heard, nil)
  }
}
