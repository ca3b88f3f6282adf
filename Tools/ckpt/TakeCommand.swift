import ArgumentParser
import Checkpoint
import EpochStore
import Glibc

struct TakeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "take", abstract: "Take an epoch of a running guest; it runs on.",
    discussion: "Ctrl-C gives the take up: the guest runs on, nothing is left behind.")

  @Argument(help: "Name, id or uuid of the guest.") var vm: String
  @Option(help: ArgumentHelp("Copy live at most so many bytes per second, like 50M.", valueName: "bytes"))
  var limitRate: String?
  @Option(help: ArgumentHelp("Give up when the pause has not begun after so many seconds.", valueName: "seconds"))
  var timeout: Double?
  @Option(
    help: ArgumentHelp(
      "Configuration file (also CKPT_CONFIG; default /etc/ckpt/ckpt.conf where it exists).", valueName: "file"))
  var config: String?
  @OptionGroup var common: CommonOptions

  func validate() throws {
    if let timeout, timeout <= 0 { throw ValidationError("--timeout wants seconds, not \(timeout)") }
  }

  func run() throws {
    let configuration = try loadConfiguration()
    var rate: Int?
    if let limitRate { rate = Int(try Quantity.parseBytes(limitRate)) }
    let cancellation = TakeCancellation()
    Interrupts.cancel(cancellation)
    let manifest = try common.engine.take(
      vm,
      options: { name in
        var options = configuration.options(for: name)
        if let rate { options.bytesPerSecond = rate }
        options.timeoutSeconds = timeout
        return options
      }, cancellation: cancellation, report: Self.show)
    if common.json { return try Terminal.printJSON(manifest) }
    print(
      "\(manifest.guest): epoch \(manifest.epoch), pause \(Quantity.milliseconds(manifest.pauseMs)), "
        + "stop \(Quantity.milliseconds(manifest.stopMs)), \(Quantity.bytes(manifest.bytes)) stored")
  }

  private func loadConfiguration() throws -> Configuration {
    if let path = config ?? environment("CKPT_CONFIG") { return try Configuration(path: path) }
    guard access(Configuration.defaultPath, F_OK) == 0 else { return Configuration() }
    return try Configuration(path: Configuration.defaultPath)
  }

  private static func show(_ event: TakeEvent) {
    switch event {
    case .phase(let phase): Terminal.progress("\(phase.rawValue)…")
    case .round(let round):
      Terminal.progress(
        "  round \(round.name): \(round.pages) pages, \(round.copied) copied, \(round.unchanged) unchanged, "
          + "\(round.dirtied) dirtied meanwhile, \(Quantity.milliseconds(round.ms))")
    case .note(let text): Terminal.error("ckpt: note: \(text)")
    // It is thrown as well.
    case .failed: break
    }
  }
}

/// SIGINT, SIGTERM and SIGHUP end a take in order.
enum Interrupts {
  /// A signal handler may touch nothing but this.
  nonisolated(unsafe) private static var target: TakeCancellation?

  static func cancel(_ cancellation: TakeCancellation) {
    target = cancellation
    for number in [SIGINT, SIGTERM, SIGHUP] { signal(number) { _ in Interrupts.target?.cancel() } }
  }
}

extension CommonOptions {
  var storePath: String { store ?? environment("CKPT_STORE") ?? Engine.defaultStore }
  var engine: Engine { Engine(storePath: storePath) }
}
