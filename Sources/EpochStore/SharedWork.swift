import Dispatch
import Synchronization

/// Pieces of work, numbered from 0, that several threads pull until none is left or one has failed.
///
/// Unchecked for `progress` alone, which is only called under the lock.
final class SharedWork: @unchecked Sendable {
  private let count: Int
  private let taken = Atomic<Int>(0)
  private let stopped = Atomic<Bool>(false)
  private let shared = Mutex(Shared())
  private let progress: ((Int) -> Void)?

  private struct Shared {
    var done = 0
    var failure: StoreError?
  }

  init(count: Int, progress: ((Int) -> Void)?) {
    self.count = count
    self.progress = progress
  }

  /// Runs `body` on `threads` threads, the caller's among them, and throws the first error of any.
  func run(threads: Int, _ body: (_ thread: Int) throws(StoreError) -> Void) throws(StoreError) {
    // `body` may touch what is not Sendable: its threads have ended when this call returns.
    nonisolated(unsafe) let body = body
    DispatchQueue.concurrentPerform(iterations: threads) { thread in
      do throws(StoreError) { try body(thread) } catch {
        stopped.store(true, ordering: .relaxed)
        shared.withLock { if $0.failure == nil { $0.failure = error } }
      }
    }
    if let failure = shared.withLock({ $0.failure }) { throw failure }
  }

  /// The next piece; nil when there is none left, or another thread failed.
  func next() -> Int? {
    if stopped.load(ordering: .relaxed) { return nil }
    let piece = taken.wrappingAdd(1, ordering: .relaxed).oldValue
    return piece < count ? piece : nil
  }

  /// Tells `progress` under the lock: one call at a time, and the numbers only grow.
  func finished(_ amount: Int) {
    guard let progress else { return }
    shared.withLock {
      $0.done += amount
      progress($0.done)
    }
  }
}
