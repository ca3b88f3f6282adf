import ArgumentParser
import Checkpoint
import ControlAPI

struct RecoverCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "recover", abstract: "End what killed takes left: suspended disks and guests, half-made epochs.",
    discussion: """
      Touches nothing that ckpt did not suspend itself; may be run at any time. A guest that may still suspend is watched \
      for up to a minute. A log of dirty pages that nobody reads any more is switched off. What was begun in a pool is settled, \
      what was never published is removed from the store and its pools.
      """)

  @Argument(help: "Name, id or uuid of the guest; all guests when left out.", completion: .guests) var vm: String?
  @OptionGroup var common: CommonOptions

  func run() throws {
    let recovery = try common.service().recover(RecoverRequest(guest: vm), Call())
    if common.json {
      try Terminal.printJSON(recovery)
    } else {
      for line in recovery.lines { Terminal.say(line) }
      if recovery.lines.isEmpty, recovery.failures.isEmpty { print("nothing to recover") }
    }
    if !recovery.failures.isEmpty { throw CheckpointError.notRecovered(recovery.failures) }
  }
}
