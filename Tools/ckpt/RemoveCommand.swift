import ArgumentParser
import ControlAPI
import EpochStore

struct RemoveCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "remove", abstract: "Remove epochs with their disks.",
    discussion: """
      Younger epochs are never harmed: what they need of a removed one is kept. Refused while one of them is mounted (status 11). \
      For rules instead: ckpt prune. An epoch of which only \
      a pool has the disks, because the guest's folder in the store was lost, is given up by its number.
      With --all every epoch goes, also those that only a pool has, whether the guest runs or not: its next take is a full one. Where it \
      neither runs nor has disks in a pool nor a schedule, its folder in the store goes as well; else it is told what is left.
      """)

  @Argument(help: "Name or uuid of the guest.", completion: .guests) var vm: String
  @Argument(help: EpochArgument.help, transform: EpochArgument.parse) var epochs: [EpochReference] = []
  @Flag(help: "All epochs of the guest.") var all = false
  @Flag(help: "Remove pinned epochs too.") var force = false
  @Flag(name: [.long, .customShort("n")], help: "Only show what would be removed.") var dryRun = false
  @Flag(help: "Do not ask; needed without a terminal.") var yes = false
  @OptionGroup var common: CommonOptions

  func validate() throws {
    guard epochs.isEmpty == all else { throw ValidationError("Name epochs, or say --all.") }
  }

  func run() throws {
    let service = try common.service()
    let plan = try service.remove(
      RemoveRequest(guest: vm, epochs: epochs, force: force, all: all ? true : nil, dryRun: true), Call())
    let what = Self.what(plan)
    if dryRun {
      if common.json { return try Terminal.printJSON(plan) }
      return Terminal.say("would remove \(what)")
    }
    try Terminal.confirm("Removed for good: \(what).", yes: yes)
    let removed = try service.remove(agreed(to: plan), Call())
    if common.json { try Terminal.printJSON(removed) } else { show(removed) }
    if let problem = removed.poolProblem {
      throw PartlyDone(
        description: "\(plan.guest): epochs were removed, their disks' snapshots not yet: \(problem); the next take or "
          + "prune removes them")
    }
  }

  /// By number: the newest may be another one by now, or there may be one more.
  private func agreed(to plan: RemoveAnswer) -> RemoveRequest {
    if all { return RemoveRequest(guest: plan.uuid, force: force, all: true, agreed: plan.removed) }
    return RemoveRequest(guest: plan.uuid, epochs: plan.removed.map(EpochReference.number), force: force)
  }

  private static func what(_ plan: RemoveAnswer) -> String {
    if plan.removed.isEmpty { return "what is left of '\(plan.guest)', which has no epochs" }
    let numbers = plan.removed.map(String.init).joined(separator: ", ")
    return "epoch\(plan.removed.count == 1 ? "" : "s") \(numbers) of '\(plan.guest)'"
  }

  private func show(_ removed: RemoveAnswer) {
    Terminal.say(
      RemovalText.line(removed.guest, removed.removed.count, removed.freedBytes, removed.heldBytes, removed.pools))
    for note in removed.notes { Terminal.say("\(removed.guest): \(note)") }
    if removed.folderRemoved == true { Terminal.say("\(removed.guest): nothing of it is left in the store") }
  }
}

/// What removing epochs came to, in a line: the same after `ckpt prune`.
enum RemovalText {
  static func line(
    _ guest: String, _ count: Int, _ freed: UInt64, _ held: UInt64, _ pools: [PruneReport.Pool]
  ) -> String {
    var line = "\(guest): \(count) epoch\(count == 1 ? "" : "s") removed, \(Quantity.bytes(freed)) freed in the store"
    if held > 0 { line += ", \(Quantity.bytes(held)) kept because younger epochs need it" }
    for pool in pools {
      line += "; \(Quantity.bytes(pool.freedBytes)) freed in pool \(pool.pool) (\(pool.snapshots) snapshots)"
      if pool.inUse > 0 { line += ", \(pool.inUse) snapshots are in use and go later" }
    }
    return line
  }
}
