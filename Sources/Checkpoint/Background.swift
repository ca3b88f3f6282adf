import Dispatch
import Synchronization

/// Work on another thread, whose result is waited for.
final class Background<Value: Sendable>: Sendable {
  private let result = Mutex<Result<Value, any Error>?>(nil)
  private let done = DispatchSemaphore(value: 0)

  init(_ body: @escaping @Sendable () throws -> Value) {
    DispatchQueue.global(qos: .userInitiated).async { [self] in work(body) }
  }

  /// On a thread that stands ready.
  init(on thread: Standby, _ body: @escaping @Sendable () throws -> Value) {
    thread.run { [self] in work(body) }
  }

  private func work(_ body: () throws -> Value) {
    let value = Result { try body() }
    result.withLock { $0 = value }
    done.signal()
  }

  func wait() throws -> Value {
    done.wait()
    done.signal()
    return try result.withLock { try $0!.get() }
  }

  /// Waits at most until `deadline`; returns whether the work is done.
  func isDone(by deadline: ContinuousClock.Instant) -> Bool {
    let left = max(0, (deadline - .now).milliseconds)
    guard done.wait(timeout: .now() + .microseconds(Int(left * 1000))) == .success else { return false }
    done.signal()
    return true
  }
}
