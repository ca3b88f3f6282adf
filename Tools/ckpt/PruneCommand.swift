import ArgumentParser
import Checkpoint
import ControlAPI
import EpochStore

struct PruneCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "prune", abstract: "Remove the epochs that no rule keeps.",
    discussion: """
      What any rule keeps stays; of a minute, hour, day, week, month or year the newest epoch is kept, for as many of them \
      as asked, those without an epoch not counted. Pinned epochs stay, and so does the one that ckpt undo goes back to, until \
      the guest is brought back again. Without a rule nothing is removed but what interrupted takes left. Younger epochs are never \
      harmed: what they need of a removed one is kept. A mounted epoch stays, and a note says so.
      What younger epochs do not need of a removed one's file is given back, after a take by schedule and in one that is short of room \
      about 1 GiB at a time. Ctrl-C or the end of ckptd breaks that off; the next prune goes on.
      Minutes, hours, days and so on are those of the host's time zone, also where REASON names one; TIME is in UTC.
      """)

  @Argument(help: "Name or uuid of a guest; all guests when left out.", completion: .guests) var vm: String?
  @OptionGroup var keep: KeepOptions
  @Flag(name: [.long, .customShort("n")], help: "Only show what would be removed.") var dryRun = false
  @Flag(help: "Do not ask; needed without a terminal.") var yes = false
  @OptionGroup var common: CommonOptions

  func run() throws {
    let service = try common.service()
    let plans = try service.planPrune(PrunePlanRequest(guest: vm, keep: keep.policy), Call())
    for warning in plans.flatMap(\.warnings) { Terminal.error("ckpt: \(warning)") }
    if !common.json { for plan in plans { show(plan.report) } }
    if dryRun { return try print(plans.map(\.report)) }
    try confirm(plans.map(\.report))
    let agreed = Dictionary(plans.map { ($0.report.uuid, $0.report.removed) }) { first, _ in first }
    let json = common.json
    let pruned = try service.prune(
      PruneRequest(guest: vm, keep: keep.policy, agreed: agreed),
      Call(report: { if case .pruned(let report) = $0, !json { Self.show(removed: report) } }))
    if !pruned.reports.isEmpty || pruned.failures.isEmpty { try print(pruned.reports) }
    guard let first = pruned.failures.first else { return }
    for failure in pruned.failures.dropFirst() { Terminal.error("ckpt: \(failure.guest): \(failure.error)") }
    if pruned.failures.contains(where: { $0.error.exitStatus == .interrupted }) {
      Terminal.error("ckpt: \(first.guest): \(first.error)")
      throw ExitStatus.interrupted
    }
    throw pruned.reports.isEmpty ? first.error : PartlyDone(description: "\(first.guest): \(first.error)")
  }

  private func print(_ reports: [PruneReport]) throws { if common.json { try Terminal.printJSON(reports) } }

  private func confirm(_ reports: [PruneReport]) throws {
    let losses = reports.filter { !$0.removed.isEmpty }
    guard !losses.isEmpty else { return }
    let what = losses.map { "\($0.removed.count) of '\($0.guest)'" }.joined(separator: ", ")
    try Terminal.confirm("Epochs are removed for good: \(what).", yes: yes)
  }

  private func show(_ plan: PruneReport) {
    if plan.epochs.isEmpty { return }
    for line in StatusText.wrapped("\(plan.guest) (\(plan.uuid))", first: 0, rest: 2) { Terminal.say(line) }
    let rows = plan.epochs.map {
      [String($0.epoch), $0.time ?? "unknown", $0.keep ? "keep" : "remove", $0.reasons.joined(separator: ", ")]
    }
    Table.show([["EPOCH", "TIME", "", "REASON"]] + rows)
  }

  private static func show(removed report: PruneReport) {
    Terminal.say(
      RemovalText.line(report.guest, report.removed.count, report.freedBytes, report.heldBytes, report.pools))
    for note in report.notes { Terminal.say("\(report.guest): \(note)") }
  }
}

/// Something was done and something was not.
struct PartlyDone: ErrorWithStatus, CustomStringConvertible {
  let description: String
  var exitStatus: ExitStatus { .partlyDone }
}
