import ArgumentParser
import ControlAPI
import EpochStore

struct TakeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "take", abstract: "Take an epoch of a running guest; it runs on.",
    discussion: """
      Ctrl-C gives the take up: the guest runs on, nothing is left behind. One that ckptd does goes on when this command is killed.
      """)

  @Argument(help: "Name, id or uuid of the guest.", completion: .guests) var vm: String
  @Option(help: ArgumentHelp("Copy live at most so many bytes per second, like 50M.", valueName: "bytes"))
  var limitRate: String?
  @Option(
    help: ArgumentHelp(
      "Give up when the guest has not taken the request to suspend after so many seconds, live copying included.",
      valueName: "seconds"))
  var timeout: Double?
  @Option(
    help: ArgumentHelp(
      "Configuration file (also CKPT_CONFIG; default /etc/ckpt/ckpt.conf where it exists).", valueName: "file"),
    completion: .file())
  var config: String?
  @OptionGroup var common: CommonOptions

  func validate() throws {
    if let timeout, !(timeout > 0 && timeout.isFinite) {
      throw ValidationError("--timeout wants seconds, not \(timeout)")
    }
  }

  func run() throws {
    let rate = try limitRate.map { Int(try Quantity.parseBytes($0)) }
    let call = Call(report: Self.show)
    let manifest = try common.service(config: config, cancellation: call.cancellation).take(
      TakeRequest(guest: vm, limitRate: rate, timeoutSeconds: timeout), call)
    if common.json { return try Terminal.printJSON(manifest) }
    Terminal.say(
      "\(manifest.guest): epoch \(manifest.epoch), pause \(Quantity.milliseconds(manifest.pauseMs)), "
        + "stop \(Quantity.milliseconds(manifest.stopMs)), \(Quantity.bytes(manifest.bytes)) stored")
  }

  @Sendable static func show(_ event: ControlEvent) {
    switch event {
    case .phase(let phase): Terminal.progress("\(phase)…")
    case .round(let round):
      Terminal.progress(
        "  round \(round.name): \(round.pages) pages, \(round.copied) copied, \(round.unchanged) unchanged, "
          + "\(round.dirtied) dirtied meanwhile, \(Quantity.milliseconds(round.ms))")
    case .note(let text): Terminal.error("ckpt: note: \(text)")
    default: break
    }
  }
}
