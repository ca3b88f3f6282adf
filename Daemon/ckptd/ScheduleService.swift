import Checkpoint
import ControlAPI
import EpochStore
import Logging
import Scheduling
import ServiceLifecycle
import Signals

/// Runs the schedules of the store, each run as an operation of the daemon like any other.
struct ScheduleService: Service {
  private let loop: SchedulerLoop
  private let operations: Operations

  /// - Parameter takesAtOnce: how many guests may be taken at a time by schedule; asked before each take.
  init(_ operations: Operations, store: String, takesAtOnce: @escaping @Sendable () -> Int, logger: Logger) {
    self.operations = operations
    loop = SchedulerLoop(
      store: store, takesAtOnce: takesAtOnce, calendar: CachedCalendar(SystemdCalendar(run: Command.finish)),
      take: { try await Self.take($0, operations) },
      prune: { uuid, policy in
        let request = PruneRequest(guest: uuid, keep: policy)
        let pruned = try await operations.run(request, by: origin)
        if let failure = pruned.failures.first { throw failure.error }
      },
      report: { event in
        switch event {
        case .finished(let guest, .taken(_, let problem?)):
          logger.warning("schedules: \(guest): what no rule keeps was not removed: \(problem)")
        // The operation's own lines tell the rest.
        case .started, .finished: break
        case .schedulesRefused(let why): logger.error("schedules: \(why)")
        case .recordsProblem(let why): logger.error("schedules: what came of runs: \(why)")
        case .notInCharge(let why): logger.error("schedules: none is run here: \(why)")
        case .inCharge: logger.notice("schedules: they are run here from now on")
        }
      })
  }

  /// - Throws: `CancellationError` when it made no epoch because the daemon ends.
  private static func take(
    _ run: Scheduler.Run, _ operations: Operations
  ) async throws -> (epoch: Int, uuid: String) {
    let keep = run.removesNothing ? RetentionPolicy() : run.keep.isEmpty ? nil : run.keep
    let request = TakeRequest(guest: run.guest, maxPauseSeconds: run.maxPauseSeconds, keep: keep)
    do {
      let taken = try await operations.run(request, by: origin)
      return (taken.epoch, taken.uuid)
    } catch let failure as ControlFailure
      where operations.isEnding && (failure == .ending || failure.exitStatus == .interrupted)
    {
      throw CancellationError()
    }
  }

  /// What is wrong with the schedules, and which of them run; nil when nothing is. Any thread, at once.
  var problem: String? { loop.problem }

  /// What Prometheus reads of the schedules; nothing where they are not run here.
  func families() async -> [MetricFamily] {
    guard await loop.isInCharge else { return [] }
    let statuses = await loop.status(runs: 1)
    return ScheduleMetrics.families(statuses, problem: problem)
  }

  /// Has the schedules looked at now: somebody changed them.
  func reload() { loop.reload() }

  /// Ends when its runs have: what came of them is noted then.
  func run() async throws {
    await withGracefulShutdownHandler {
      await loop.run()
    } onGracefulShutdown: {
      loop.stop()
      operations.giveUp()
    }
  }
}

/// Who asks, as the log and the list of operations tell it.
private let origin = "schedule"
