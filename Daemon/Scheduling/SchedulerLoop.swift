public import EpochStore
import Glibc
import Synchronization

/// Runs the schedules of a store until it is told to stop or its task is cancelled. Sleeps until something is due, a minute at most;
/// wakes when a run ends, when it is told to reload, and when the wall clock is set.
///
/// Of several processes on a store one runs its schedules; the others look each minute whether it has ended.
///
/// The file of schedules is looked at whenever the loop is awake, and read when it was changed; ``reload()`` makes that at once. With a
/// fault in it, those that were last read hold; where none were, those of the file that can be read.
public actor SchedulerLoop {
  /// Takes an epoch of a guest and returns its number, and the guest's uuid. What it throws makes the run a failed one, with the error's
  /// description shown; a `CancellationError` makes it a missed one: the service ends, and kept it from an epoch. Is cancelled with the
  /// loop's task. Must not hold the thread.
  public typealias Take = @Sendable (Scheduler.Run) async throws -> (epoch: Int, uuid: String)
  /// Removes the epochs of a guest that the policy, which is not empty, does not keep. By uuid: the store may have epochs of several that
  /// are called so.
  public typealias Prune = @Sendable (_ uuid: String, _ policy: RetentionPolicy) async throws -> Void

  /// What the service may want to log.
  public enum Event: Hashable, Sendable {
    case started(guest: String)
    case finished(guest: String, RunResult)
    /// The file of schedules cannot be used as it is: why, and which schedules run. Told once for each state of the file.
    case schedulesRefused(String)
    /// What was remembered of runs cannot be read, or not be written.
    case recordsProblem(String)
    /// No schedule is run here, and why. Told once for each reason.
    case notInCharge(String)
    /// The schedules are run here after all.
    case inCharge
  }

  private let store: String
  private let file: ScheduleFile
  private let runFile: RunFile
  private let clock: any SchedulerClock
  private let takesAtOnce: @Sendable () -> Int
  private let take: Take
  private let prune: Prune
  private let report: @Sendable (Event) -> Void
  private let (wakes, waker) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
  private let isStopping = Atomic(false)
  private var scheduler: Scheduler
  private var lock: FolderLock?
  private var chargeProblem: String?
  private var recordsProblem: String?
  private var saved: [RunRecord] = []
  private var stamp: ScheduleFile.Stamp?
  private var hasRead = false
  /// Of a file without a fault.
  private var hasSchedules = false
  private let refusal = Mutex<String?>(nil)

  /// Why the file of schedules is not in force as it is, and which schedules run. Any thread, at once.
  public nonisolated var problem: String? { refusal.withLock { $0 } }
  /// The schedules of the store are run here.
  public var isInCharge: Bool { lock != nil }

  /// Milliseconds after which it looks at the file again, and whether another process still is in charge, though nothing is due.
  private static let lookAgain: Int64 = 60_000

  /// - Parameters:
  ///   - store: path of the store's folder; without it there are no schedules yet.
  ///   - takesAtOnce: how many guests may be taken at a time on this host; asked whenever the loop is awake.
  public init(
    store: String, takesAtOnce: @escaping @Sendable () -> Int, calendar: any ScheduleCalendar,
    clock: any SchedulerClock = SystemClock(), take: @escaping Take, prune: @escaping Prune,
    report: @escaping @Sendable (Event) -> Void = { _ in }
  ) {
    (self.store, file, runFile, self.clock) = (store, ScheduleFile(store: store), RunFile(store: store), clock)
    (self.takesAtOnce, self.take, self.prune, self.report) = (takesAtOnce, take, prune, report)
    scheduler = Scheduler(records: [], takesAtOnce: takesAtOnce(), calendar: calendar)
  }

  /// Looks at the file of schedules now. Returns at once.
  public nonisolated func reload() { waker.yield() }

  /// Begins nothing any more: ``run()`` returns when the runs that go on have come to their own ends. Returns at once.
  public nonisolated func stop() {
    isStopping.store(true, ordering: .sequentiallyConsistent)
    waker.finish()
  }

  private nonisolated var mayBegin: Bool { !isStopping.load(ordering: .sequentiallyConsistent) }

  /// All schedules by guest.
  public func status(runs: Int = 3) -> [ScheduleStatus] { scheduler.status(at: clock.now, runs: runs) }

  /// Returns when it was told to stop, or the task is cancelled, and the runs that went on have ended. To be called once.
  public func run() async {
    let settings = Task { [clock, waker] in
      for await _ in clock.settings() { waker.yield() }
    }
    await withDiscardingTaskGroup { group in
      waker.yield()
      var timers: [Task<Void, Never>] = []
      for await _ in wakes where mayBegin {
        for timer in timers { timer.cancel() }
        // Nobody tells of a file that is edited by hand.
        timers = [sleep(until: clock.now.uptime + Self.lookAgain)]
        guard takesCharge() else { continue }
        readSchedules()
        scheduler.takesAtOnce = takesAtOnce()
        for run in scheduler.start(at: clock.now) {
          report(.started(guest: run.guest))
          group.addTask { await self.perform(run) }
        }
        save()
        if let wake = scheduler.nextWake(at: clock.now) { timers.append(sleep(until: wake)) }
      }
      for timer in timers { timer.cancel() }
    }
    settings.cancel()
    lock = nil
  }

  /// Whether the store's schedules are run here. What is remembered of runs is read when that begins, not before: until then the
  /// runs are somebody else's.
  private func takesCharge() -> Bool {
    guard lock == nil else { return true }
    do { lock = try ScheduleLock.take(store: store) } catch StoreError.system(_, _, ENOENT) { return false } catch {
      if chargeProblem != "\(error)" { report(.notInCharge("\(error)")) }
      chargeProblem = "\(error)"
      return false
    }
    if chargeProblem != nil { report(.inCharge) }
    chargeProblem = nil
    readRecords()
    return true
  }

  private func readRecords() {
    var records: [RunRecord] = []
    do { records = try runFile.read() } catch {
      recordsProblem = "\(error)"
      report(.recordsProblem("\(error)"))
    }
    // Nobody else takes scheduled epochs: a run without an end died with its service.
    for index in records.indices where records[index].isUnfinished {
      records[index].endUnfinished(at: clock.now.wall)
    }
    scheduler = Scheduler(records: records, takesAtOnce: takesAtOnce(), calendar: scheduler.calendar)
  }

  private func sleep(until uptime: Int64) -> Task<Void, Never> {
    Task { [clock, waker] in
      if (try? await clock.sleep(until: uptime)) != nil { waker.yield() }
    }
  }

  private func readSchedules() {
    let new = file.stamp
    guard !hasRead || new != stamp else { return }
    (stamp, hasRead) = (new, true)
    do {
      scheduler.reload(try file.read(), at: clock.now)
      hasSchedules = true
      refusal.withLock { $0 = nil }
    } catch {
      // What is no fault of the file may pass: it is read again though it does not change.
      hasRead = error is ScheduleError
      let why = "\(error); \(holdOn())"
      guard problem != why else { return }
      refusal.withLock { $0 = why }
      report(.schedulesRefused(why))
    }
  }

  /// What is done about a file with a fault, in words.
  private func holdOn() -> String {
    if hasSchedules { return "those that were last read still hold" }
    let readable = file.readable()
    scheduler.reload(readable, isComplete: false, at: clock.now)
    let guests = readable.map(\.guest).joined(separator: ", ")
    return readable.isEmpty ? "until then no schedule runs" : "until then only those of \(guests) run"
  }

  private func perform(_ run: Scheduler.Run) async {
    var (run, result): (Scheduler.Run, RunResult) = (run, .interrupted)
    run.removesNothing = hasSchedules && problem != nil
    do {
      let taken = try await take(run)
      result = .taken(epoch: taken.epoch, pruneProblem: await pruneProblem(run.guest, taken.uuid))
    } catch is CancellationError {
      result = .interrupted
    } catch {
      result = .failed("\(error)")
    }
    scheduler.finish(run.guest, result, at: clock.now)
    save()
    report(.finished(guest: run.guest, result))
    waker.yield()
  }

  /// Prunes by the policy that holds now: somebody may have changed it, or taken the schedule away, during the take.
  private func pruneProblem(_ guest: String, _ uuid: String) async -> String? {
    readSchedules()
    guard let policy = scheduler.schedule(of: guest)?.keep, !policy.isEmpty else { return nil }
    // An older policy must not remove what the one that somebody tried to write keeps.
    if hasSchedules, let problem { return problem }
    guard mayBegin else { return "the service ended before it; the next take prunes as well" }
    do { try await prune(uuid, policy) } catch { return "\(error)" }
    return nil
  }

  private func save() {
    guard scheduler.records != saved else { return }
    do {
      try runFile.write(scheduler.records)
      (saved, recordsProblem) = (scheduler.records, nil)
    } catch {
      // A full disk says so with every run; once is enough to hear.
      if recordsProblem != "\(error)" { report(.recordsProblem("\(error)")) }
      recordsProblem = "\(error)"
    }
  }
}
