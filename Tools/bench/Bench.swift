import ArgumentParser

@main
struct Bench: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ckpt-bench",
    abstract: "Measures what ckpt promises; every figure is a ratio within one run.",
    subcommands: [
      DaemonCost.self, Dirty.self, Epochs.self, Export.self, Floor.self, Native.self, Prune.self, Staging.self,
      Store.self,
      Watch.self,
    ])
}
