import EpochStore
import Foundation
import Synchronization
import Testing

@testable import Scheduling

/// A loop in a store of its own, whose takes do what the test says.
final class LoopBench: Sendable {
  static let start = time("06-01 12:00")

  let folder: TemporaryFolder
  let file: ScheduleFile
  let clock: ManualClock
  let loop: SchedulerLoop
  /// How many at a time, from the next time on that the loop is awake.
  let atOnce: Counter
  /// What happens, in order.
  private let lines = AsyncStream.makeStream(of: String.self)
  private let running = Mutex<Task<Void, Never>?>(nil)

  init(
    _ schedules: [Schedule], in folder: TemporaryFolder? = nil, at wall: EpochTime = start, takesAtOnce: Int = 4,
    take: @escaping @Sendable (Scheduler.Run) async throws -> Int = { _ in 7 },
    prune: @escaping SchedulerLoop.Prune = { _, _ in }
  ) throws {
    self.folder = try folder ?? TemporaryFolder()
    file = ScheduleFile(store: self.folder.path)
    if !schedules.isEmpty { try file.edit { $0 = schedules } }
    clock = ManualClock(wall)
    let log = lines.continuation
    let count = Counter(takesAtOnce)
    atOnce = count
    loop = SchedulerLoop(
      store: self.folder.path, takesAtOnce: { count.value }, calendar: MultiplesCalendar(), clock: clock,
      take: { run in
        log.yield("take \(run.guest) \(run.maxPauseSeconds.map { "\($0)" } ?? "-")")
        return (try await take(run), "id-\(run.guest)")
      },
      prune: { uuid, policy in
        log.yield("prune \(uuid) \(policy)")
        try await prune(uuid, policy)
      },
      report: { event in
        switch event {
        case .started: break
        case .finished(let guest, let result): log.yield("\(guest): \(result)")
        case .schedulesRefused: log.yield("refused")
        case .recordsProblem: log.yield("records")
        case .notInCharge(let why): log.yield("not in charge: \(why)")
        case .inCharge: log.yield("in charge")
        }
      })
  }

  func run() { running.withLock { $0 = Task { [loop] in await loop.run() } } }

  func stop() async {
    running.withLock { $0 }?.cancel()
    await end()
  }

  /// Waits until the loop has ended, which somebody told it to.
  func end() async { await running.withLock { $0 }?.value }

  /// The next `count` things that happen.
  func next(_ count: Int) async -> [String] {
    var next: [String] = []
    for await line in lines.stream {
      next.append(line)
      if next.count == count { break }
    }
    return next
  }

  var records: [RunRecord] { get throws { try RunFile(store: folder.path).read() } }
}

/// A number that a test changes while others read it.
final class Counter: Sendable {
  private let number: Mutex<Int>
  init(_ value: Int) { number = Mutex(value) }
  var value: Int {
    get { number.withLock { $0 } }
    set { number.withLock { $0 = newValue } }
  }
}

/// Opens once.
struct Gate: Sendable {
  private let stream: AsyncStream<Void>
  private let continuation: AsyncStream<Void>.Continuation

  init() { (stream, continuation) = AsyncStream.makeStream(of: Void.self) }
  func open() { continuation.finish() }
  func pass() async throws {
    for await _ in stream {}
    try Task.checkCancellation()
  }
}

/// Keeps so many.
func policy(_ last: Int) -> RetentionPolicy {
  var policy = RetentionPolicy()
  policy.last = last
  return policy
}

/// Of the guest that loops are tried with.
func web(_ every: String = "5m", keep: RetentionPolicy = .init()) throws -> Schedule {
  try schedule("web", every: every, keep: keep, since: LoopBench.start)
}
