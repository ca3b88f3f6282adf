import ArgumentParser
import Checkpoint
import ControlAPI
import EpochStore
import Scheduling

struct ScheduleCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "schedule", abstract: "When the service takes epochs by itself, and which of them stay.",
    discussion: """
      ckptd runs the schedules. A run that was missed while the host or the service was down, or that its end cut short, is \
      made up, once for all; one that would begin while the guest's last is at work, or waits for its turn, is skipped. Needs no Xen.
      Intervals do not mind a clock that is set, and the first one begins at once; a calendar follows the clock, in the host's time zone \
      or the one that it names.
      Schedules are kept in the store, in schedules.json, and what came of them in schedule-runs.json beside it. The first may be \
      edited by hand: ckptd reads it within a minute, or at once when it reloads (systemctl reload ckptd). What is wrong in it is told \
      with its place, and the last good schedules hold. Of several ckptd on one store one runs its schedules: the others' logs \
      say that they do not, `ckpt status` which one does.
      """,
    subcommands: [Set.self, List.self, Pause.self, Resume.self, Remove.self])

  struct Set: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "set", abstract: "Set a guest's schedule, in place of the one it had.",
      discussion: """
        After each take the epochs that no rule keeps are removed, as by `ckpt prune`, and before it where room is short; \
        without a rule all stay. The guest need not exist yet.
        """)

    @Argument(help: "Name or uuid of the guest.", completion: .guests) var vm: String
    @Option(help: ArgumentHelp("Take an epoch so often, like 5m or 1h30m (units: s m h d w).", valueName: "interval"))
    var every: String?
    @Option(
      help: ArgumentHelp(
        "Take an epoch when this elapses: a calendar event of systemd.time(7), like '*:0/15' or daily.",
        valueName: "expression"))
    var calendar: String?
    @Option(
      help: ArgumentHelp(
        "Begin each run later by up to this, like 30s; always the same for a guest and a time.", valueName: "interval"))
    var jitter: String?
    @Option(
      help: ArgumentHelp(
        "A guest that is held longer, counted from the request to suspend, runs again and the take fails (default: ckpt.conf's).",
        valueName: "seconds"))
    var maxPause: Double?
    @OptionGroup var keep: KeepOptions
    @OptionGroup var common: CommonOptions

    func validate() throws {
      guard (every == nil) != (calendar == nil) else {
        throw ValidationError("Say when: either --every INTERVAL or --calendar EXPRESSION.")
      }
    }

    func run() throws {
      let now = EpochTime.now
      var schedule = try Schedule(
        guest: common.scheduledName(vm), timing: timing(), jitter: jitter.map(interval) ?? Interval(seconds: 0),
        maxPauseSeconds: maxPause, keep: keep.policy, since: now)
      try SystemdCalendar.host.check(schedule, at: now)
      _ = try common.engine.store()
      try common.schedules.edit { schedules in
        let old = schedules.firstIndex { $0.guest == schedule.guest }.map { schedules.remove(at: $0) }
        // The same times as before: what is planned stays planned.
        if let old, old.timing == schedule.timing, !old.isPaused { schedule.since = old.since }
        schedules.append(schedule)
      }
      tellDaemon()
      try common.show(only: schedule.guest)
    }

    private func timing() throws -> Schedule.Timing {
      if let calendar { return .calendar(calendar) }
      return .every(try interval(every ?? ""))
    }

    private func interval(_ text: String) throws -> Interval {
      guard let interval = Interval(text) else {
        throw UsageRefused(description: "'\(text)' is no interval; write it like 30s, 5m or 1h30m, 366d at most")
      }
      return interval
    }
  }

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "list", abstract: "Show schedules, the next runs, and what came of the last ones.")

    @Argument(help: "Name or uuid of a guest; all schedules when left out.", completion: .guests) var vm: String?
    @OptionGroup var common: CommonOptions

    func run() throws {
      _ = try common.engine.existingStore()
      try common.show(only: vm.map(common.scheduledName))
    }
  }

  struct Pause: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "pause", abstract: "Take no more epochs by schedule until it is resumed.")

    @Argument(help: "Name or uuid of the guest.", completion: .guests) var vm: String
    @OptionGroup var common: CommonOptions

    func run() throws { try common.change(vm) { $0.isPaused = true } }
  }

  struct Resume: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "resume", abstract: "Go on with a schedule that was paused.")

    @Argument(help: "Name or uuid of the guest.", completion: .guests) var vm: String
    @OptionGroup var common: CommonOptions

    func run() throws {
      try common.change(vm) { schedule in
        guard schedule.isPaused else { return }
        // What came during the break was not missed.
        (schedule.isPaused, schedule.since) = (false, .now)
      }
    }
  }

  struct Remove: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "remove", abstract: "Remove a guest's schedule; its epochs stay.")

    @Argument(help: "Name or uuid of the guest.", completion: .guests) var vm: String
    @OptionGroup var common: CommonOptions

    func run() throws {
      _ = try common.engine.existingStore()
      let guest = try common.scheduledName(vm)
      let gone = try common.schedules.edit { schedules in schedules.remove(at: try schedules.index(of: guest)) }
      tellDaemon()
      if common.json { return try Terminal.printJSON(gone) }
      Terminal.say("\(guest): schedule removed (\(gone.timing)); its epochs stay")
    }
  }
}

extension CommonOptions {
  fileprivate var schedules: ScheduleFile { ScheduleFile(store: storePath) }

  /// What a guest's schedule names it by: its name where it has epochs, however it was called here; but the one that it has may be from
  /// before its first epoch, by its uuid.
  fileprivate func scheduledName(_ vm: String) throws -> String {
    guard let folder = (try? engine.existingStore().find(vm)) ?? nil else { return vm }
    let name = try folder.overview().epochs.last?.guest ?? vm
    let known = (try? schedules.read())?.map(\.guest) ?? []
    return [name, folder.uuid].first(where: known.contains) ?? name
  }

  /// Changes one schedule and shows it.
  fileprivate func change(_ vm: String, _ change: (inout Schedule) -> Void) throws {
    _ = try engine.existingStore()
    let guest = try scheduledName(vm)
    try schedules.edit { schedules in change(&schedules[try schedules.index(of: guest)]) }
    tellDaemon()
    try show(only: guest)
  }

  /// Shows the schedule of one guest, or all.
  fileprivate func show(only guest: String?) throws {
    var shown = try schedules.read()
    if let guest { shown = [shown[try shown.index(of: guest)]] }
    var records: [RunRecord] = []
    do { records = try RunFile(store: storePath).read() } catch { Terminal.error("ckpt: \(error)") }
    // What ckptd plans, seen from here: it decides by the same rules.
    var scheduler = Scheduler(records: records, takesAtOnce: 1, calendar: CachedCalendar(SystemdCalendar.host))
    let now = Moment(wall: .now, uptime: 0)
    scheduler.reload(shown, at: now)
    try ScheduleTable.show(scheduler.status(at: now, runs: 3), json: json)
  }
}

/// The daemon looks at the schedules when it wakes next; told, it wakes now. One that does not answer reads them when it starts.
private func tellDaemon() {
  guard let socket = DaemonSocket.path else { return }
  _ = try? DaemonClient(socket: socket, expects: Expectation()).reloadSchedules(patience: DaemonSocket.patience)
}

extension SystemdCalendar {
  static let host = SystemdCalendar(run: Command.finish)
}

/// How schedules are printed.
private enum ScheduleTable {
  static func show(_ statuses: [ScheduleStatus], json: Bool) throws {
    if json { return try Terminal.printJSON(statuses) }
    Table.show([["GUEST", "WHEN", "NEXT RUN", "RESULT", "KEEP"]] + statuses.map(row))
    for status in statuses {
      let (guest, record) = (status.schedule.guest, status.record)
      if let last = record.lastStart {
        Terminal.say("\(guest): last run \(last), \(record.runs) runs, \(record.failed) failed")
        Terminal.say("\(guest): \(record.skipped) skipped, \(record.missed) missed")
      }
      if let problem = status.problem { Terminal.error("ckpt: \(guest): \(problem)") }
      if let problem = status.record.problem { Terminal.say("\(guest): the last run failed: \(problem)") }
      if let problem = status.record.pruneProblem { Terminal.say("\(guest): the last pruning failed: \(problem)") }
    }
  }

  private static func row(_ status: ScheduleStatus) -> [String] {
    let (schedule, record) = (status.schedule, status.record)
    let next =
      switch status.state {
      case .paused, .stopped: status.state.rawValue
      case .due: "due"
      case .waiting, .running: status.nextRuns.first?.description ?? "-"
      }
    let result =
      if status.state == .running { "running" } else if record.problem != nil {
        "failed"
      } else if let epoch = record.lastEpoch { "epoch \(epoch)" } else { "-" }
    let jitter = schedule.jitter.seconds > 0 ? " +\(schedule.jitter)" : ""
    return [
      schedule.guest, "\(schedule.timing)\(jitter)", next, result, schedule.keep.description,
    ]
  }
}
