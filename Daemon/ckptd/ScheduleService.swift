import Checkpoint
import ControlAPI
import EpochStore
import Logging
import Scheduling
import ServiceLifecycle

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
      prune: { guest, policy in
        let request = PruneRequest(guest: guest, keep: policy)
        let pruned = try await operations.run(request, by: origin)
        if let failure = pruned.failures.first { throw failure.error }
      },
      report: { event in
        switch event {
        // The operation's own lines tell the rest.
        case .started, .finished: break
        case .schedulesRefused(let why): logger.error("schedules: \(why); those that were last read still hold")
        case .recordsProblem(let why): logger.error("schedules: what came of runs: \(why)")
        case .notInCharge(let why): logger.error("schedules: none is run here: \(why)")
        case .inCharge: logger.notice("schedules: they are run here from now on")
        }
      })
  }

  /// - Throws: `CancellationError` when it made no epoch because the daemon ends.
  private static func take(_ run: Scheduler.Run, _ operations: Operations) async throws -> Int {
    let request = TakeRequest(
      guest: run.guest, maxPauseSeconds: run.maxPauseSeconds, keep: run.keep.isEmpty ? nil : run.keep)
    do { return try await operations.run(request, by: origin).epoch } catch let failure as ControlFailure
      where operations.isEnding && (failure == .ending || failure.exitStatus == .interrupted)
    {
      throw CancellationError()
    }
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
