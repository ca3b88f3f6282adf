import ArgumentParser
import Checkpoint
import EpochStore

struct ShowCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "show", abstract: "Show one epoch.")

  @Argument(help: "Name or uuid of the guest.") var vm: String
  @Argument(help: "Number of the epoch.") var epoch: Int
  @OptionGroup var common: CommonOptions

  func run() throws {
    let manifest = try common.engine.show(vm, epoch: epoch)
    if common.json { return try Terminal.printJSON(manifest) }
    var rows = [
      ["guest", "\(manifest.guest) (\(manifest.kind.rawValue), \(manifest.vcpus) vCPU)"],
      ["uuid", manifest.uuid],
      ["epoch", String(manifest.epoch)],
      ["time", manifest.time.description],
      ["memory", Quantity.bytes(manifest.memoryBytes)],
      ["pages", "\(manifest.pages) stored, \(manifest.zeroPages) zero"],
      ["size", "\(Quantity.bytes(manifest.bytes)) in \(manifest.file)"],
      ["suspended by", manifest.suspendPath],
      ["pause", Quantity.milliseconds(manifest.pauseMs)],
      ["stop", Quantity.milliseconds(manifest.stopMs)],
    ]
    for disk in manifest.disks {
      let snapshot = disk.thinID.map { "pool \(disk.pool), thin id \($0)" } ?? "read-only, left alone"
      rows.append(["disk \(disk.vdev)", "\(disk.device): \(snapshot)"])
    }
    let order = Phase.allCases.map(\.rawValue)
    for (phase, milliseconds) in manifest.phases.sorted(by: { rank($0.key, order) < rank($1.key, order) }) {
      rows.append(["  \(phase)", Quantity.milliseconds(milliseconds)])
    }
    Terminal.printTable(rows)
  }

  /// Phases in their order, their steps after them.
  private func rank(_ phase: String, _ order: [String]) -> (Int, String) {
    (order.firstIndex(of: phase) ?? order.count, phase)
  }
}
