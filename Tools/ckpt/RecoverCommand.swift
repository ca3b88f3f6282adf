import ArgumentParser
import Checkpoint
import ControlAPI

struct RecoverCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "recover", abstract: "End what killed takes left: suspended disks and guests, half-made epochs.",
    discussion: """
      May be run at any time; while a take that lives is in its pause it is refused (exit 11). Disks in ckpt's pools run again, \
      whoever suspended them, and guests that ckpt had suspended. A guest that may still suspend is watched for up to a minute. \
      A log of dirty pages that nobody reads any more is switched off. What was begun in a pool is settled, what was never published \
      is removed from the store and its pools. A restore that destroyed its guest and did not end is told of, with the ways on. \
      Needs no configuration, and is done by this process when ckptd does not answer.
      Exit status 1 when something could not be ended; what was done is told all the same.
      """)

  @Argument(help: "Name, id or uuid of the guest; all guests when left out.", completion: .guests) var vm: String?
  @OptionGroup var common: CommonOptions

  func run() throws {
    let recovery = try common.recoveryService().recover(RecoverRequest(guest: vm), Call())
    if common.json {
      try Terminal.printJSON(recovery)
    } else {
      for line in recovery.lines + recovery.open { Terminal.say(line) }
      if recovery.isEmpty { print("nothing to recover") }
    }
    if !recovery.failures.isEmpty { throw CheckpointError.notRecovered(recovery.failures) }
  }
}
