import EpochStore
import Synchronization

@testable import Scheduling

/// A clock that stands still until the test moves it on.
final class ManualClock: SchedulerClock {
  private struct State {
    var now: Moment
    var nextID = 0
    var sleepers: [Int: (until: Int64, continuation: CheckedContinuation<Void, any Error>)] = [:]
    /// Tests that wait for somebody to sleep until then.
    var watchers: [(until: Int64, continuation: CheckedContinuation<Void, Never>)] = []
  }

  private let state: Mutex<State>
  private let (stream, continuation) = AsyncStream.makeStream(of: Void.self)

  init(_ wall: EpochTime) { state = Mutex(State(now: Moment(wall: wall, uptime: 0))) }

  var now: Moment { state.withLock(\.now) }
  func settings() -> AsyncStream<Void> { stream }

  func sleep(until uptime: Int64) async throws {
    let id = state.withLock { state in
      state.nextID += 1
      return state.nextID
    }
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let watchers = state.withLock { state -> [CheckedContinuation<Void, Never>]? in
          // Cancelled before it slept: who cancels afterwards finds it.
          guard !Task.isCancelled, state.now.uptime < uptime else { return nil }
          state.sleepers[id] = (uptime, continuation)
          defer { state.watchers.removeAll { $0.until == uptime } }
          return state.watchers.filter { $0.until == uptime }.map(\.continuation)
        }
        guard let watchers else { return continuation.resume() }
        for watcher in watchers { watcher.resume() }
      }
    } onCancel: {
      state.withLock { $0.sleepers.removeValue(forKey: id) }?.continuation.resume(throwing: CancellationError())
    }
  }

  /// Waits until somebody sleeps until `seconds`, then lets the clock show that.
  func move(to seconds: Int64) async {
    await sleeper(until: seconds)
    jump(to: seconds)
  }

  func sleeper(until seconds: Int64) async {
    await withCheckedContinuation { continuation in
      let isThere = state.withLock { state in
        let isThere = state.sleepers.values.contains { $0.until == seconds * 1000 }
        if !isThere { state.watchers.append((seconds * 1000, continuation)) }
        return isThere
      }
      if isThere { continuation.resume() }
    }
  }

  private func jump(to seconds: Int64) {
    let woken = state.withLock { state in
      let passed = seconds * 1000 - state.now.uptime
      state.now = Moment(wall: state.now.wall + passed, uptime: seconds * 1000)
      let woken = state.sleepers.filter { $0.value.until <= seconds * 1000 }
      for id in woken.keys { state.sleepers[id] = nil }
      return woken.values.map(\.continuation)
    }
    for continuation in woken { continuation.resume() }
  }

  /// Sets the clock on the wall.
  func set(_ seconds: Int64) {
    state.withLock { $0.now.wall = $0.now.wall + seconds * 1000 }
    continuation.yield()
  }
}
