import Dispatch
import Synchronization

/// A thread that is made before the pause and stands ready in it for one piece of work: to make one while a guest is held would cost
/// it the time of a clone and of the first page faults on a new stack.
final class Standby: Sendable {
  private let work = Mutex<(@Sendable () -> Void)?>(nil)
  private let called = DispatchSemaphore(value: 0)

  init() {
    DispatchQueue(label: "pause", qos: .userInteractive).async { [self] in
      let urgency = Urgency(.helper)
      defer { urgency.end() }
      called.wait()
      work.withLock { $0.take() }?()
    }
  }

  /// Does it, unless the thread was dismissed or has had its work.
  func run(_ body: @escaping @Sendable () -> Void) {
    work.withLock { $0 = body }
    called.signal()
  }

  /// The thread ends, once it has done what it may be at.
  func dismiss() { called.signal() }
}
