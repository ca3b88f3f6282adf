import ControlAPI
import EpochStore
import Synchronization
import Testing

@testable import ckptd

@Suite("What is computed now and then")
struct RecentTests {
  private struct Broken: Error {}

  @Test("is computed again when it is old or was dropped, and not before")
  func age() throws {
    let (time, computed) = (ManualTime(), Counter())
    let recent = Recent(age: .seconds(15), now: { time.now }, compute: { computed.next() })
    #expect(try recent.get() == 1)
    time.passed(seconds: 14)
    #expect(try recent.get() == 1)
    time.passed(seconds: 15)
    #expect(try recent.get() == 2)
    time.passed(seconds: 29)
    #expect(try recent.get() == 2)
    recent.drop()
    #expect(try recent.get() == 3)
    #expect(try recent.get() == 3)
  }

  /// A value that is being computed until the gate is opened, and whose clock stands still.
  private func slow(_ gate: Gate) -> Recent<Int> {
    let (time, computed) = (ManualTime(), Counter())
    return Recent(
      age: .seconds(15), now: { time.now },
      compute: {
        let number = computed.next()
        gate.pass()
        return number
      })
  }

  @Test("is computed once for all who come meanwhile")
  func shared() async throws {
    let gate = Gate()
    let recent = slow(gate)
    async let first = blocking { try recent.get() }
    await gate.awaitReached()
    async let second = blocking { try recent.get() }
    gate.open()
    let values = try await [first, second]
    #expect(values == [1, 1])
  }

  @Test("is not kept when it was dropped while it was being computed")
  func droppedMeanwhile() async throws {
    let gate = Gate()
    let recent = slow(gate)
    async let first = blocking { try recent.get() }
    await gate.awaitReached()
    recent.drop()
    gate.open()
    let value = try await first
    #expect(value == 1)
    #expect(try recent.get() == 2)
  }

  @Test("is tried again after it failed")
  func failure() throws {
    let computed = Counter()
    let recent = Recent<Int>(
      age: .seconds(15),
      compute: {
        let number = computed.next()
        if number == 1 { throw Broken() }
        return number
      })
    #expect(throws: Broken.self) { try recent.get() }
    #expect(try recent.get() == 2)
  }

  @Test("is dropped at the end of each operation, whatever came of it, before its asker hears of that")
  func operations() async throws {
    let ended = Counter()
    let operations = Operations(ScriptedService(), logger: LogBook().logger, whenEnded: { _ = ended.next() })
    _ = try await operations.run(MarkRequest(guest: "web", epoch: 1), by: "test")
    #expect(ended.last == 1)
    await #expect(throws: ControlFailure.self) {
      try await operations.run(RemoveRequest(guest: "web", epochs: [1]), by: "test")
    }
    #expect(ended.last == 2)
  }
}

/// A clock that is set by hand. Any thread.
private final class ManualTime: Sendable {
  private let start = ContinuousClock.now
  private let seconds = Mutex(0)
  var now: ContinuousClock.Instant { start + .seconds(seconds.withLock { $0 }) }

  /// Since it was made.
  func passed(seconds passed: Int) { seconds.withLock { $0 = passed } }
}

/// Counts up from 1. Any thread.
private final class Counter: Sendable {
  private let count = Mutex(0)
  var last: Int { count.withLock { $0 } }

  func next() -> Int {
    count.withLock {
      $0 += 1
      return $0
    }
  }
}
