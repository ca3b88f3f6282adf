import Synchronization
import Testing

@testable import DeviceMapper

struct PoolWatchTests {
  /// The kernel's counts, one set for each time that they are read; the watch ends with the last one.
  private func changes(_ readings: [[String: UInt32]], pools: [String]) throws -> [String] {
    let step = Atomic(-1)
    let source = PoolWatch.Source(
      arm: { step.add(1, ordering: .relaxed) },
      wait: { step.load(ordering: .relaxed) < readings.count - 1 },
      count: { readings[step.load(ordering: .relaxed)][$0] })
    var told: [String] = []
    let known = try PoolWatch.begin(source, pools)
    PoolWatch.run(source, pools, known) { told.append($0) }
    return told
  }

  @Test(
    arguments: [
      // Events of other devices wake the watch, and are not told.
      ([["a": 1, "x": 1], ["a": 1, "x": 2]], []),
      ([["a": 1, "b": 5], ["a": 2, "b": 5], ["a": 2, "b": 7]], ["a", "b"]),
      ([["a": 1, "b": 5], ["a": 2, "b": 6]], ["a", "b"]),
      // One that comes, goes, and comes again with a count of its own.
      ([[:], ["a": 0], [:], ["a": 0]], ["a", "a", "a"]),
    ] as [([[String: UInt32]], [String])])
  func tellsThePoolsThatHadEvents(readings: [[String: UInt32]], told: [String]) throws {
    #expect(try changes(readings, pools: ["a", "b"]) == told)
  }

  @Test func isArmedBeforeItLooks() throws {
    let order = Mutex<[String]>([])
    let source = PoolWatch.Source(
      arm: { order.withLock { $0.append("arm") } },
      wait: {
        order.withLock {
          $0.append("wait")
          return $0.count < 4
        }
      },
      count: { _ in
        order.withLock { $0.append("count") }
        return 1
      })
    PoolWatch.run(source, ["a"], try PoolWatch.begin(source, ["a"])) { _ in }
    #expect(order.withLock { $0 } == ["arm", "count", "wait", "arm", "count", "wait"])
  }

  @Test func endsWhenTheKernelCannotBeAskedAnyMore() throws {
    struct Gone: Error {}
    let source = PoolWatch.Source(arm: { throw Gone() }, wait: { true }, count: { _ in 1 })
    PoolWatch.run(source, ["a"], [:]) { _ in Issue.record("told of an event") }
  }
}
