import ArgumentParser
import Checkpoint
import EpochStore
import FoundationEssentials
import Glibc

/// Epochs of one guest by an engine that stays, as a service takes them.
struct Epochs: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Take epochs of a guest in one process, and print each one's manifest as JSON, one to a line.")

  @Argument(help: "Name, id or uuid of the guest.") var guest: String
  @Option(help: "How many.") var count = 5
  @Option(help: "Seconds from one to the next.") var every = 5.0
  @Option(help: "Configuration file.") var config: String?

  func run() throws {
    let configuration = try config.map { try Configuration(path: $0) } ?? Configuration()
    let engine = Engine(storePath: environment("CKPT_STORE") ?? Engine.defaultStore)
    let memory = TakeMemory(isResident: true)
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    var next = ContinuousClock.now
    for _ in 0..<count {
      while ContinuousClock.now < next { usleep(10_000) }
      next = ContinuousClock.now + .seconds(every)
      let manifest = try engine.take(guest, options: configuration.options, memory: { _ in memory })
      print(String(decoding: try encoder.encode(manifest), as: UTF8.self))
      fflush(nil)
    }
  }
}
