import ArgumentParser
import Checkpoint
import ControlAPI
import Glibc

struct ConfigCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "config", abstract: "The configuration file.", subcommands: [Check.self, Reload.self])

  struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "check", abstract: "Tell everything that is wrong with a configuration file, by line.",
      discussion: """
        Exit status 12 when something is. ckptd checks the same when it reloads; when it starts, it only warns of programs \
        that cannot be run.
        """)

    @Argument(help: "The file (also CKPT_CONFIG; default /etc/ckpt/ckpt.conf).", completion: .file()) var file: String?
    @Flag(help: "Print JSON.") var json = false

    func run() throws {
      let named = file ?? environment("CKPT_CONFIG")
      let path = named ?? Configuration.defaultPath
      // The default one need not exist.
      let isThere = named != nil || access(path, F_OK) == 0
      let faults = isThere ? Configuration.faults(path: path) : []
      if json {
        try Terminal.printJSON(Report(file: path, faults: faults.map { .init(line: $0.line, what: $0.what) }))
      } else if faults.isEmpty {
        Terminal.say(isThere ? "\(path): no faults" : "\(path): no such file; every value is the default")
      }
      for fault in faults { Terminal.error("ckpt: \(fault)") }
      if !faults.isEmpty { throw ExitStatus.badConfiguration }
    }

    struct Report: Encodable {
      struct Fault: Encodable {
        /// 0: the file as a whole.
        let line: Int
        let what: String
      }
      let file: String
      let faults: [Fault]
    }
  }

  struct Reload: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "reload", abstract: "Have ckptd read its configuration anew; with a fault, the old one stays.",
      discussion: "Exit status 12 when it has faults.")

    @Flag(help: "Print JSON.") var json = false

    func run() throws {
      guard let socket = DaemonSocket.path else { throw NothingToReload() }
      let answer: ReloadAnswer
      do {
        answer = try DaemonClient(socket: socket, expects: Expectation()).reload(patience: DaemonSocket.patience)
      } catch DaemonError.nobodyThere { throw NothingToReload() }
      if json { try Terminal.printJSON(answer) }
      for fault in answer.faults { Terminal.error("ckpt: \(fault)") }
      guard answer.faults.isEmpty else { throw ExitStatus.badConfiguration }
      if !json {
        Terminal.say(answer.config.map { "\($0): taken over" } ?? "no configuration file: every value is the default")
      }
    }
  }
}

/// No daemon: all others read the configuration each time.
private struct NothingToReload: ErrorWithStatus, CustomStringConvertible {
  let exitStatus = ExitStatus.failed
  let description =
    "no ckptd runs, so nothing has to be reloaded: it reads the configuration when it starts (systemctl start ckptd); "
    + "without it each command does"
}
