import ArgumentParser
import Checkpoint
import EpochStore
import Xen

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
    let restore = try common.engine.restore(vm, epoch: epoch) { Terminal.progress("\($0)…") }
    try restore.prepare()
    let manifest = restore.manifest
    let loses =
      restore.running.map { "The running guest '\(manifest.guest)' (domain \($0.id)) is destroyed;" }
      ?? "Guest '\(manifest.guest)' does not run;"
    try Terminal.confirm("\(loses) its disks go back to epoch \(epoch) of \(manifest.time).", yes: yes)
    let outcome = try restore.perform(start: !disksOnly)
    if common.json {
      return try Terminal.printJSON(
        Report(
          guest: manifest.guest, uuid: manifest.uuid, epoch: epoch, domain: outcome.domain,
          steps: Dictionary(uniqueKeysWithValues: outcome.steps)))
    }
    let steps = outcome.steps.map { "\($0.name) \(Quantity.milliseconds($0.milliseconds))" }
    let what = outcome.domain.map { "runs as domain \($0)" } ?? "has its disks back, nothing was started"
    print("\(manifest.guest): epoch \(epoch) \(what) (\(steps.joined(separator: ", ")))")
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
