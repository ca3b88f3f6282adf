import ArgumentParser
import Checkpoint
import ControlAPI

struct RestoreCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "restore", abstract: "Bring a guest, memory and disks, back to an epoch.",
    discussion: "The whole epoch is verified before the running guest is touched.")

  @Argument(help: "Name, id or uuid of the guest.") var vm: String
  @Argument(help: "Number of the epoch.") var epoch: Int
  @Flag(help: "Turn the disks back and start nothing: for `xl restore` of an exported epoch.") var disksOnly = false
  @Flag(help: "Do not ask; needed without a terminal.") var yes = false
  @OptionGroup var common: CommonOptions

  func run() throws {
    let yes = yes
    let restored = try common.service().restore(
      RestoreRequest(guest: vm, epoch: epoch, disksOnly: disksOnly, yes: yes),
      Call(
        report: { if case .step(let step) = $0 { Terminal.progress("\(step)…") } },
        confirm: { question in
          let loses =
            question.domain.map { "The running guest '\(question.guest)' (domain \($0)) is destroyed;" }
            ?? "Guest '\(question.guest)' does not run;"
          try Terminal.confirm(
            "\(loses) its disks go back to epoch \(question.epoch) of \(question.time).", yes: yes)
        }))
    if common.json {
      return try Terminal.printJSON(
        Report(
          guest: restored.guest, uuid: restored.uuid, epoch: epoch, domain: restored.domain,
          steps: Dictionary(uniqueKeysWithValues: restored.steps.map { ($0.name, $0.ms) })))
    }
    let steps = restored.steps.map { "\($0.name) \(Quantity.milliseconds($0.ms))" }
    let what = restored.domain.map { "runs as domain \($0)" } ?? "has its disks back, nothing was started"
    print("\(restored.guest): epoch \(epoch) \(what) (\(steps.joined(separator: ", ")))")
  }

  private struct Report: Encodable {
    let guest: String
    let uuid: String
    let epoch: Int
    let domain: UInt32?
    /// Milliseconds.
    let steps: [String: Double]
  }
}
