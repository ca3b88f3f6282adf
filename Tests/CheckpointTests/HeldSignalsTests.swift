import Glibc
import Testing

@testable import Checkpoint

@Suite("Signals that are held")
struct HeldSignalsTests {
  /// A signal handler may touch nothing but this.
  nonisolated(unsafe) private static var heard = 0

  @Test("reach their handler when it is let hear them, and are held again after that")
  func delivered() {
    // The threads of tests hold them anyway.
    var hangUp = sigset_t()
    sigemptyset(&hangUp)
    sigaddset(&hangUp, SIGHUP)
    var mask = sigset_t()
    pthread_sigmask(SIG_UNBLOCK, &hangUp, &mask)
    var action = sigaction()
    action.__sigaction_handler.sa_handler = { _ in HeldSignalsTests.heard += 1 }
    var before = sigaction()
    sigaction(SIGHUP, &action, &before)

    let held = HeldSignals()
    pthread_kill(pthread_self(), SIGHUP)
    #expect(Self.heard == 0)
    held.deliver()
    #expect(Self.heard == 1)
    held.deliver()
    pthread_kill(pthread_self(), SIGHUP)
    #expect(Self.heard == 1)
    held.release()
    #expect(Self.heard == 2)

    sigaction(SIGHUP, &before, nil)
    pthread_sigmask(SIG_SETMASK, &mask, nil)
  }
}
