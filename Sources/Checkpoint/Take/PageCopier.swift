import Dispatch
import EpochStore
import Synchronization
import Xen

/// Copies a set of a guest's pages into staging RAM, on several threads.
struct PageCopier {
  let guest: any Guest
  let staging: Staging
  let threads: Int
  /// Pages are asked for in the pieces in which the guest keeps them mapped.
  var byStretch = false
  /// Whether the epoch holds a page with this content and type already; nil: copy every page.
  var holds: (@Sendable (UInt64, UnsafeRawPointer, UInt8) -> Bool)?
  /// Asked between batches: true ends the copy early.
  var shouldStop: @Sendable () -> Bool = { false }

  /// Leaves out the pages that the epoch, as far as it was appended, holds already.
  mutating func compare(with writer: EpochWriter) {
    // Nothing is appended while a copy runs.
    nonisolated(unsafe) let writer = writer
    holds = { writer.isUnchanged($0, $1, type: $2) }
  }

  struct Outcome: Sendable {
    /// Pages of the set that were not dealt with: no room, or told to stop.
    var rest = PageSet()
    var ranOut = false
    // Lists and not sets: a set of a few pages at the top of a guest's frame numbers is larger than all of them.
    /// Page tables caught in a change.
    var torn: [UInt64] = []
    /// Frame numbers without a page.
    var absent: [UInt64] = []
    /// Pages now in staging RAM.
    var copied: [UInt64] = []
    /// Pages of which the epoch holds the content already.
    var unchanged = 0

    mutating func add(_ other: Outcome) {
      rest.formUnion(other.rest)
      ranOut = ranOut || other.ranOut
      torn += other.torn
      absent += other.absent
      copied += other.copied
      unchanged += other.unchanged
    }
  }

  /// Threads that copy so many pages. Few are copied before a second thread would be awake.
  func width(_ pages: Int) -> Int { pages > 2 * GuestMemory.batchFrames ? threads : 1 }

  /// - Parameters:
  ///   - pages: how many are in the set.
  ///   - running: the guest works meanwhile.
  ///   - batch: the most pages between two looks at `shouldStop`.
  ///   - most: ends the copy when so many pages are in staging RAM, and at most one batch more; those that the epoch holds already do
  ///     not count.
  func copy(
    _ set: PageSet, pages: Int, running: Bool, batch: Int = GuestMemory.batchFrames, most: Int = .max
  ) throws -> Outcome {
    // Each thread has a part of it. What the guest keeps mapped as one piece is not cut.
    let batch = byStretch ? batch : min(batch, most / width(pages))
    let work = Work(PageSet.Batches(set, most: batch, byStretch: byStretch), most: most)
    // Guests are made to be copied from on any thread.
    nonisolated(unsafe) let guest = guest
    let (staging, holds, shouldStop) = (staging, holds, shouldStop)
    DispatchQueue.concurrentPerform(iterations: width(pages)) { _ in
      let receiver = Receiver(staging: staging, holds: holds)
      do {
        var spared = 0
        while let pfns = work.next(spared: spared, stop: shouldStop) {
          let before = receiver.outcome.copied.count
          let done = try guest.copy(pfns, running: running, to: receiver)
          spared = pfns.count - (receiver.outcome.copied.count - before)
          guard done == pfns.count else {
            receiver.outcome.rest.formUnion(PageSet(pfns[done...]))
            break
          }
        }
        work.finished(receiver.outcome)
      } catch { work.failed(error) }
    }
    return try work.outcome()
  }

  /// What the threads share.
  private final class Work: Sendable {
    private struct State {
      var batches: PageSet.Batches
      /// Pages that may still be copied; those that are handed out count as copied until it is known how many were.
      var left: Int
      var outcome = Outcome()
      var error: (any Error)?
      var stopped = false
    }
    private let state: Mutex<State>

    init(_ batches: PageSet.Batches, most: Int) { state = Mutex(State(batches: batches, left: most)) }

    /// - Parameter spared: pages of the batch before that were not copied.
    func next(spared: Int, stop: () -> Bool) -> [UInt64]? {
      let stop = stop()
      return state.withLock { state in
        state.left += spared
        state.stopped = state.stopped || stop
        guard state.error == nil, !state.stopped, state.left > 0 else { return nil }
        let pfns = state.batches.take()
        state.left -= pfns?.count ?? 0
        return pfns
      }
    }

    func finished(_ outcome: Outcome) {
      state.withLock {
        $0.outcome.add(outcome)
        $0.stopped = $0.stopped || outcome.ranOut
      }
    }

    func failed(_ error: any Error) { state.withLock { $0.error = $0.error ?? error } }

    func outcome() throws -> Outcome {
      try state.withLock { state in
        if let error = state.error { throw error }
        state.outcome.rest.formUnion(state.batches.rest)
        return state.outcome
      }
    }
  }

  /// What one thread receives.
  private final class Receiver: PageReceiver {
    private let staging: Staging
    private let same: ((UInt64, UnsafeRawPointer, UInt8) -> Bool)?
    private var block: Staging.Block?
    var outcome = Outcome()

    init(staging: Staging, holds: ((UInt64, UnsafeRawPointer, UInt8) -> Bool)?) {
      self.staging = staging
      same = holds
    }

    func holds(_ pfn: UInt64, _ page: UnsafeRawPointer, type: UInt8) -> Bool {
      guard let same, same(pfn, page, type) else { return false }
      outcome.unchanged += 1
      return true
    }

    func room() -> UnsafeMutableRawPointer? {
      if block == nil || block!.isFull { block = staging.claim() }
      outcome.ranOut = block == nil
      return block?.next
    }

    func received(_ pfn: UInt64, type: UInt8) {
      block!.received(pfn, type)
      outcome.copied.append(pfn)
    }

    func absent(_ pfn: UInt64) { outcome.absent.append(pfn) }
    func torn(_ pfn: UInt64) { outcome.torn.append(pfn) }
  }
}
