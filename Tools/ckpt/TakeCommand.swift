import ArgumentParser
import Checkpoint
import EpochStore

struct TakeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "take", abstract: "Take an epoch of a running guest; it runs on.")

  @Argument(help: "Name, id or uuid of the guest.") var vm: String
  @OptionGroup var common: CommonOptions

  func run() throws {
    let manifest = try common.engine.take(vm) { Terminal.progress("\($0.rawValue)…") }
    if common.json { return try Terminal.printJSON(manifest) }
    print(
      "\(manifest.guest): epoch \(manifest.epoch), pause \(Quantity.milliseconds(manifest.pauseMs)), "
        + "stop \(Quantity.milliseconds(manifest.stopMs)), \(Quantity.bytes(manifest.bytes)) stored")
  }
}

extension CommonOptions {
  var storePath: String { store ?? environment("CKPT_STORE") ?? Engine.defaultStore }
  var engine: Engine { Engine(storePath: storePath) }
}
