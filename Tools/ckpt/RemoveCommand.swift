import ArgumentParser
import ControlAPI
import EpochStore

struct RemoveCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "remove", abstract: "Remove epochs with their disks.",
    discussion: """
      Younger epochs are never harmed: what they need of a removed one is kept. For rules instead: ckpt prune. An epoch of which only \
      a pool has the disks, because the guest's folder in the store was lost, is given up by its number.
      """)

  @Argument(help: "Name or uuid of the guest.", completion: .guests) var vm: String
  @Argument(help: EpochArgument.help, transform: EpochArgument.parse) var epochs: [EpochReference]
  @Flag(help: "Remove pinned epochs too.") var force = false
  @Flag(name: [.long, .customShort("n")], help: "Only show what would be removed.") var dryRun = false
  @Flag(help: "Do not ask; needed without a terminal.") var yes = false
  @OptionGroup var common: CommonOptions

  func run() throws {
    let service = try common.service()
    let plan = try service.remove(RemoveRequest(guest: vm, epochs: epochs, force: force, dryRun: true), Call())
    let numbers = plan.removed.map(String.init).joined(separator: ", ")
    let what = "epoch\(plan.removed.count == 1 ? "" : "s") \(numbers) of '\(plan.guest)'"
    if dryRun {
      if common.json { return try Terminal.printJSON(plan) }
      return Terminal.say("would remove \(what)")
    }
    try Terminal.confirm("Removed for good: \(what).", yes: yes)
    // What was agreed to, by number: the newest may be another one by now.
    let removed = try service.remove(
      RemoveRequest(guest: plan.uuid, epochs: plan.removed.map(EpochReference.number), force: force), Call())
    if common.json { try Terminal.printJSON(removed) } else { show(removed) }
    if let problem = removed.poolProblem {
      throw PartlyDone(
        description: "\(plan.guest): epochs were removed, their disks' snapshots not yet: \(problem); the next take or "
          + "prune removes them")
    }
  }

  private func show(_ removed: RemoveAnswer) {
    Terminal.say(
      RemovalText.line(removed.guest, removed.removed.count, removed.freedBytes, removed.heldBytes, removed.pools))
    for note in removed.notes { Terminal.say("\(removed.guest): \(note)") }
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
