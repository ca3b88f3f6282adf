import Checkpoint
import Glibc

/// SIGINT, SIGTERM and SIGHUP end in order what this process is at: a take, an export, an import, a comparison, a copy of a disk.
enum Interrupts {
  /// A signal handler may touch nothing but this.
  nonisolated(unsafe) private static var target: TakeCancellation?

  /// - Parameter breaksCalls: a call of the kernel that waits, as for whoever reads a pipe, ends with EINTR.
  static func cancel(_ cancellation: TakeCancellation, breaksCalls: Bool = false) {
    target = cancellation
    // Whoever started us may have blocked them: threads of Dispatch do, and a child inherits that.
    var heard = sigset_t()
    sigemptyset(&heard)
    for number in [SIGINT, SIGTERM, SIGHUP] {
      guard number != SIGHUP || !isIgnored(number) else { continue }  // started by nohup
      var action = sigaction()
      action.__sigaction_handler.sa_handler = { _ in Interrupts.target?.cancel() }
      action.sa_flags = breaksCalls ? 0 : SA_RESTART
      sigaction(number, &action, nil)
      sigaddset(&heard, number)
    }
    pthread_sigmask(SIG_UNBLOCK, &heard, nil)
  }

  private static func isIgnored(_ number: Int32) -> Bool {
    var action = sigaction()
    sigaction(number, nil, &action)
    return unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self)
  }
}
