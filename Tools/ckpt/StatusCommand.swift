import ArgumentParser
import Checkpoint
import ControlAPI
import DeviceMapper
import EpochStore
import Scheduling
import Xen

struct StatusCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status", abstract: "Show host, store, pools and guests on one screen.",
    discussion: "Reads the store; what Xen and device-mapper can add is shown where they are there. Changes nothing.")

  @Option(
    help: ArgumentHelp(
      "Configuration file (also CKPT_CONFIG; default /etc/ckpt/ckpt.conf where it exists).", valueName: "file"),
    completion: .file())
  var config: String?
  @OptionGroup var common: CommonOptions

  func run() throws {
    // Where the host's own is bad there is all the more to be looked at.
    let configuration = Result { try CommonOptions.configuration(config) }
    if config != nil { _ = try configuration.get() }
    var status = try common.engine.status((try? configuration.get()) ?? Configuration())
    if case .failure(let error) = configuration { status.unknown.append("configuration: \(error)") }
    status.add((try? RunFile(store: common.storePath).read()) ?? [])
    let service = common.serviceStatus()
    let scheduler = ScheduleLock.holder(store: common.storePath)
    if common.json { return try Terminal.printJSON(StatusView(status, service: service, scheduler: scheduler)) }
    let sections = [
      StatusText.host(status), StatusText.service(service, scheduler: scheduler, now: .now), StatusText.pools(status),
      StatusText.guests(status, now: .now), StatusText.recovery(status),
    ]
    for line in sections.joined() { print(line) }
  }
}

extension CommonOptions {
  /// What ckptd says, when it works on this store; nil when none answers.
  fileprivate func serviceStatus() -> DaemonStatus? {
    guard let socket = DaemonSocket.path else { return nil }
    let status = try? client(socket, config: nil).status(patience: DaemonSocket.patience)
    return status.flatMap { Path.areSame($0.store, storePath) ? $0 : nil }
  }
}

extension HostStatus {
  /// What came of runs by schedule, whose guests are named by name or uuid.
  mutating func add(_ records: [RunRecord]) {
    for index in guests.indices {
      let record = records.first { $0.guest == guests[index].name || $0.guest == guests[index].uuid }
      guests[index].pruneProblem = record?.pruneProblem
    }
  }
}

/// The sections of the screen: lines of at most 80 characters.
enum StatusText {
  static let width = 80

  static func host(_ status: HostStatus) -> [String] {
    let (store, space) = (status.store, status.store.fileSystem)
    var text = "\(Quantity.bytes(store.used)) used"
    if let quota = store.limits.storeQuota { text += " of \(Quantity.bytes(quota))" }
    text += ", \(Quantity.bytes(space.free)) of \(Quantity.bytes(space.total)) free"
    if store.limits.hostReserve > 0 { text += ", \(Quantity.bytes(store.limits.hostReserve)) of that are kept free" }
    return labelled("host", [status.host + (status.xen.map { ", Xen \($0)" } ?? "")])
      + labelled("store", [store.path, text])
  }

  /// - Parameter scheduler: the process that runs the schedules, if one does.
  static func service(_ status: DaemonStatus?, scheduler: Int32?, now: EpochTime) -> [String] {
    guard let status else {
      let who = scheduler.map { "process \($0) runs the schedules" } ?? "schedules do not run"
      return labelled("service", ["no ckptd answers for this store; \(who)"])
    }
    var lines = ["ckptd, process \(status.pid), for \(age(of: status.started, at: now))"]
    if status.isEnding { lines[0] += ", ending" }
    if let problem = status.scheduleProblem { lines.append("schedules: \(problem)") }
    if let scheduler, scheduler != status.pid {
      lines.append("process \(scheduler) runs the schedules of this store, ckptd does not")
    }
    for work in status.operations {
      let what = ([work.kind] + (work.guest.map { ["of", $0] } ?? [])).joined(separator: " ")
      let phase = work.phase.map { ", \($0)" } ?? ""
      lines.append("\(what) (\(work.by)), for \(age(of: work.started, at: now))\(phase)")
    }
    return labelled("service", lines)
  }

  static func pools(_ status: HostStatus) -> [String] {
    let lines = status.pools.flatMap { pool in
      guard let room = pool.room, let state = pool.status?.mode.rawValue else {
        return ["\(pool.name): not active, \(pool.snapshots) snapshots"]
      }
      let use =
        "\(pool.name): \(state), data \(room.dataPercent)% of \(Quantity.bytes(room.dataTotal)), "
        + "metadata \(room.metadataPercent)% of \(Quantity.bytes(room.metadataTotal)), \(pool.snapshots) snapshots"
      return [use] + [pool.problem].compactMap(\.self) + room.warnings
    }
    return labelled("pools", lines.isEmpty ? ["none"] : lines)
  }

  static func guests(_ status: HostStatus, now: EpochTime) -> [String] {
    guard !status.guests.isEmpty else { return labelled("guests", ["none"]) }
    let rows = status.guests.map { guest in
      [
        clip(guest.name, to: 24), state(guest), guest.isUnreadable ? "?" : String(guest.epochs),
        guest.newest.map { String($0.epoch) } ?? "-", guest.newest.map { age(of: $0.time, at: now) } ?? "-",
        guest.newest.map { Quantity.milliseconds($0.pauseMs) } ?? "-",
        guest.isUnreadable ? "?" : Quantity.bytes(guest.bytes),
      ]
    }
    let table = Table.lines(
      [["GUEST", "STATE", "EPOCHS", "NEWEST", "AGE", "PAUSE", "SIZE"]] + rows, width: .max)
    var lines = [clip(table[0], to: width)]
    for (guest, row) in zip(status.guests, table.dropFirst()) {
      lines.append(clip(row, to: width))
      for remark in remarks(guest, now: now) { lines += wrapped(remark, first: 2, rest: 4) }
    }
    return [""] + lines + [""]
  }

  private static func remarks(_ guest: HostStatus.Guest, now: EpochTime) -> [String] {
    var remarks: [String] = []
    if guest.damaged > 0 { remarks.append("\(guest.damaged) of its epochs are damaged: ckpt list \(guest.name)") }
    if let quota = guest.quota, guest.bytes * 10 >= quota * 9 {
      remarks.append("\(Quantity.bytes(guest.bytes)) of its quota of \(Quantity.bytes(quota)) are used")
    }
    if let failure = guest.streak.lastFailure {
      let row = guest.streak.failures
      let count = row == 0 ? "" : ", \(row) \(row == 1 ? "take" : "takes") without an epoch"
      remarks.append(
        "last failure \(age(of: failure.time, at: now)) ago\(count): \(failure.kind) in \(failure.phase): \(failure.message)"
      )
    }
    if let problem = guest.pruneProblem { remarks.append("the last pruning by its schedule failed: \(problem)") }
    return remarks
  }

  static func recovery(_ status: HostStatus) -> [String] {
    let work = status.recoverable.isEmpty ? [] : ["to be run, for:"] + status.recoverable
    let lines = status.unfinished.map(\.description) + work
    return labelled("recover", lines.isEmpty ? ["nothing to do"] : lines)
      + (status.unknown.isEmpty ? [] : labelled("unknown", status.unknown))
  }

  private static func state(_ guest: HostStatus.Guest) -> String {
    guest.isHeld ? "held" : guest.isEnded ? "ended" : guest.domain != nil ? "running" : "-"
  }

  /// `45s`, `12m`, `3h`, `5d`.
  static func age(of time: EpochTime, at now: EpochTime) -> String {
    let seconds = max(0, now.milliseconds - time.milliseconds) / 1000
    if seconds < 120 { return "\(seconds)s" }
    if seconds < 7200 { return "\(seconds / 60)m" }
    return seconds < 172_800 ? "\(seconds / 3600)h" : "\(seconds / 86_400)d"
  }

  /// The label stands before the first line only.
  private static func labelled(_ label: String, _ lines: [String]) -> [String] {
    let all = lines.flatMap { wrapped($0, first: 9, rest: 9) }
    return all.enumerated().map { index, line in
      index == 0 ? label + String(repeating: " ", count: 9 - label.count) + line.dropFirst(9) : line
    }
  }

  /// Breaks between words, in words that are longer than a line too. What a terminal would obey is spelt out.
  static func wrapped(_ text: String, first: Int, rest indent: Int) -> [String] {
    let lines = Table.wrapped(Printable.line(text), to: width - indent)
    return lines.enumerated().map { String(repeating: " ", count: $0 == 0 ? first : indent) + $1 }
  }

  private static func clip(_ text: String, to width: Int) -> String {
    let text = Printable.line(text)
    return text.count <= width ? text : text.prefix(width - 1) + "…"
  }
}
