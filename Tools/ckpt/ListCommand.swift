import ArgumentParser
import Checkpoint
import EpochStore

struct ListCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "list", abstract: "List epochs.")

  @Argument(help: "Name or uuid of a guest; all guests when left out.") var vm: String?
  @OptionGroup var common: CommonOptions

  func run() throws {
    let lists = try common.engine.list(vm)
    for damaged in lists.flatMap(\.damaged) { Terminal.error("ckpt: epoch \(damaged.epoch): \(damaged.error)") }
    let epochs = lists.flatMap { list in
      list.epochs.map { ManifestWithVerdict(manifest: $0, verdict: list.verdicts[$0.epoch]) }
    }
    if common.json { return try Terminal.printJSON(epochs) }
    let rows = epochs.map { entry in
      let epoch = entry.manifest
      return [
        epoch.guest, String(epoch.epoch), epoch.time.description, Quantity.milliseconds(epoch.pauseMs),
        Quantity.milliseconds(epoch.stopMs), Quantity.bytes(epoch.bytes), entry.verdict?.summary ?? "-",
        epoch.disks.filter { $0.thinID != nil }.map(\.vdev).joined(separator: ","),
      ]
    }
    Terminal.printTable([["GUEST", "EPOCH", "TIME", "PAUSE", "STOP", "SIZE", "VERIFIED", "DISKS"]] + rows)
  }
}
