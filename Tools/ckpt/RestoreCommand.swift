import ArgumentParser
import Checkpoint
import ControlAPI
import EpochStore

struct RestoreCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "restore", abstract: "Bring a guest, memory and disks, back to an epoch, or start it as a clone.",
    discussion: """
      The whole epoch is verified before the running guest is touched, and an epoch of it as it is then is taken, with the tag \
      before-restore: ckpt undo goes back to that. The guest stands still from that epoch's instant until it is destroyed, for 60 \
      seconds at most. When the epoch cannot be written, the guest is not destroyed in that time, or ckpt dies, it runs on, and the \
      restore fails. That epoch makes no room by policy: where it finds none, prune first, or say --no-safety. No policy removes it \
      before the guest is brought back again; ckpt remove does.
      A guest that has crashed or does not run is brought back without one. It is not while something else has its disks open (a mount \
      in dom0), nor when xendomains saved it as the host shut down and it did not come back at the boot: what it was last is that \
      file (in /var/lib/xen/save, or where XENDOMAINS_SAVE says) with the disks as they are. Restore it first (xl restore), \
      or remove the file, or say --no-safety.
      With --as the epoch is started as a guest of its own, with a new uuid, new MAC addresses and disks that are snapshots of the \
      epoch's; the original is not touched, running or not. Its pages are not read before, nor by --dry-run: each is proven on its \
      way, and of a damaged epoch nothing runs and nothing is left.
      """)

  @Argument(help: "Name, id or uuid of the guest.", completion: .guests) var vm: String
  @Argument(help: EpochArgument.help, transform: EpochArgument.parse) var epoch: EpochReference
  @Option(name: .customLong("as"), help: ArgumentHelp("Start a clone of this name beside it.", valueName: "name"))
  var clone: String?
  @Flag(help: "Turn the disks back and start nothing: for `xl restore` of an exported epoch.") var disksOnly = false
  @OptionGroup var how: RestoreOptionGroup
  @OptionGroup var common: CommonOptions

  func validate() throws {
    if disksOnly, how.paused { throw ValidationError("--disks-only starts nothing that could be paused.") }
    if disksOnly, clone != nil { throw ValidationError("--disks-only is for a restore in place, --as is for a clone.") }
  }

  func run() throws {
    var request = RestoreRequest(guest: vm, epoch: epoch)
    (request.clone, request.paused, request.disksOnly) = (clone, how.paused, disksOnly)
    (request.safety, request.dryRun, request.yes) = (!how.noSafety, how.dryRun, how.yes)
    let (call, service) = (how.call, try common.service())
    try how.show(service.restore(request, call), json: common.json)
  }
}

struct UndoCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "undo", abstract: "Bring a guest back to what it was before it was last brought back.",
    discussion: """
      It goes to the epoch that the last ckpt restore took before it destroyed the guest. An epoch of the guest as it is \
      now is taken first, so that another undo returns here.
      """)

  @Argument(help: "Name, id or uuid of the guest.", completion: .guests) var vm: String
  @OptionGroup var how: RestoreOptionGroup
  @OptionGroup var common: CommonOptions

  func run() throws {
    var request = UndoRequest(guest: vm)
    (request.paused, request.safety) = (how.paused, !how.noSafety)
    (request.dryRun, request.yes) = (how.dryRun, how.yes)
    let (call, service) = (how.call, try common.service())
    try how.show(service.undo(request, call), json: common.json)
  }
}

/// What restore and undo have in common.
struct RestoreOptionGroup: ParsableArguments {
  @Flag(help: "Leave what is started paused, for `xl unpause`.") var paused = false
  @Flag(help: "Take no epoch of the guest before it is destroyed, and give up what xendomains saved of it.")
  var noSafety = false
  @Flag(name: [.long, .customShort("n")], help: "Only show what would be done.") var dryRun = false
  @Flag(help: "Do not ask; needed without a terminal.") var yes = false

  var call: Call {
    let (cancellation, yes) = (TakeCancellation(), self.yes)
    return Call(
      cancellation: cancellation,
      report: { event in
        // Until then nothing was begun that would have to be given up in order.
        if case .step(RestoreAnswer.safetyStep) = event { Interrupts.cancel(cancellation) }
        if case .step(let step) = event { Terminal.progress("\(step)…") }
        TakeCommand.show(event)
      },
      confirm: { try Terminal.confirm($0.question, yes: yes, within: Call.answerSeconds) },
      // A signal is held back then, and shall not end us before it is told what came of it.
      begins: { Interrupts.cancel(cancellation) })
  }

  func show(_ restored: RestoreAnswer, json: Bool) throws {
    if json { return try Terminal.printJSON(RestoreReport(restored)) }
    if restored.dryRun { return Table.show(restored.plan.rows) }
    let steps = restored.steps.map { "\($0.name) \(Quantity.milliseconds($0.ms))" }
    Terminal.say("\(restored.guest): \(restored.text) (\(steps.joined(separator: ", ")))")
    if let safety = restored.safetyEpoch {
      Terminal.say(
        "\(restored.guest): what it was before is epoch \(safety); `ckpt undo \(restored.guest)` goes back to it")
    }
    for warning in restored.plan.warnings { Terminal.error("ckpt: note: \(warning)") }
  }
}
