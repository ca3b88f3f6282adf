import Glibc

/// Signals that would end the process wait while guests stand still, or one is between its end and its start.
struct HeldSignals {
  private var before = sigset_t()

  init() {
    var held = sigset_t()
    sigemptyset(&held)
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] { sigaddset(&held, signal) }
    pthread_sigmask(SIG_BLOCK, &held, &before)
  }

  /// Lets their handlers hear those that tell a command to stop. One without a handler would end the process, and waits on.
  func deliver() {
    var before = before
    var pending = sigset_t()
    sigpending(&pending)
    var heard = sigset_t()
    sigemptyset(&heard)
    for signal in [SIGINT, SIGTERM, SIGHUP]
    where sigismember(&pending, signal) == 1 && sigismember(&before, signal) == 0 && HeldSignals.hasHandler(signal) {
      sigaddset(&heard, signal)
    }
    var held = sigset_t()
    pthread_sigmask(SIG_UNBLOCK, &heard, &held)
    pthread_sigmask(SIG_SETMASK, &held, nil)
  }

  private static func hasHandler(_ number: Int32) -> Bool {
    var action = sigaction()
    sigaction(number, nil, &action)
    // SIG_DFL is nil.
    guard let handler = action.__sigaction_handler.sa_handler else { return false }
    return unsafeBitCast(handler, to: Int.self) != unsafeBitCast(SIG_IGN, to: Int.self)
  }

  func release() {
    var before = before
    pthread_sigmask(SIG_SETMASK, &before, nil)
  }
}
