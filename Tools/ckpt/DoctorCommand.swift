import ArgumentParser
import Checkpoint
import ControlAPI
import Glibc
import Scheduling

struct DoctorCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor", abstract: "Check this host: what keeps epochs from being taken, and how to mend it.",
    discussion: """
      Looks at Xen, the kernel, programs, configuration, store, pools, LVM, systemd's units, ckptd and every running guest, as far \
      as they are there, and changes nothing. Each line is ok, a warning (epochs can be taken, something is worth a look) or a \
      problem, with the next command below it. NO_COLOR turns colours off.
      With --json: `level` (the worst one), the numbers of `problems` and `warnings`, and `findings`, each with `level`, `area`, \
      `what`, and where there is one `subject` (pool, guest, unit or path) and `fix`.
      Exit status: 0 without a problem, warnings or not; 12 with one.
      """)

  @Option(
    help: ArgumentHelp(
      "Configuration file (also CKPT_CONFIG; default /etc/ckpt/ckpt.conf where it exists).", valueName: "file"),
    completion: .file())
  var config: String?
  @OptionGroup var common: CommonOptions

  func run() throws {
    var facts = common.engine.facts(
      configuration: CommonOptions.configurationPath(config), service: common.serviceFact())
    facts.schedules = HostFacts.Schedules(ofStore: common.storePath)
    let findings = facts.findings
    if common.json { try Terminal.printJSON(DoctorReport(findings)) } else { show(findings) }
    if findings.contains(where: { $0.level == .problem }) { throw ExitStatus.badConfiguration }
  }

  private func show(_ findings: [Finding]) {
    for finding in findings { for line in DoctorText.lines(finding, color: Terminal.usesColor) { print(line) } }
    print(DoctorText.summary(findings))
  }
}

extension CommonOptions {
  /// What there is to be seen of ckptd from here.
  fileprivate func serviceFact() -> HostFacts.Service {
    guard let socket = DaemonSocket.path else { return .noSocket(ControlPath.defaultSocket) }
    do {
      let status = try client(socket, config: nil).status(patience: DaemonSocket.patience)
      return .answers(process: status.pid, store: status.store)
    } catch { return .silent("\(error)") }
  }
}

extension HostFacts.Schedules {
  fileprivate init(ofStore store: String) {
    self.init()
    let file = ScheduleFile(store: store)
    do { guests = try file.read().map(\.guest) } catch {
      problem = "\(error)"
      guests = file.readable().map(\.guest)
    }
    for record in (try? RunFile(store: store).read()) ?? [] { pruneProblems[record.guest] = record.pruneProblem }
  }
}

/// The findings in JSON.
struct DoctorReport: Encodable {
  struct Entry: Encodable {
    let level, area: String
    let subject: String?
    let what: String
    let fix: String?
  }

  let level: String
  let problems, warnings: Int
  let findings: [Entry]

  init(_ findings: [Finding]) {
    level = (findings.map(\.level).max() ?? .ok).rawValue
    problems = findings.count { $0.level == .problem }
    warnings = findings.count { $0.level == .warning }
    self.findings = findings.map {
      Entry(level: $0.level.rawValue, area: $0.area.rawValue, subject: $0.subject, what: $0.what, fix: $0.fix)
    }
  }
}

/// The findings as lines of at most 80 characters.
enum DoctorText {
  private static let margin = 20

  static func lines(_ finding: Finding, color: Bool) -> [String] {
    let text = StatusText.wrapped(finding.what, first: margin, rest: margin)
    let fix = finding.fix.map { StatusText.wrapped("-> \($0)", first: margin, rest: margin + 3) } ?? []
    let level = padded(finding.level.rawValue, 9)
    let head = (color ? colored(level, finding.level) : level) + padded(finding.area.rawValue, margin - 9)
    return [head + text[0].dropFirst(margin)] + text.dropFirst() + fix
  }

  static func summary(_ findings: [Finding]) -> String {
    func count(_ level: Finding.Level, _ word: String) -> String {
      let number = findings.count { $0.level == level }
      return "\(number) \(word)\(number == 1 ? "" : "s")"
    }
    return "\(count(.problem, "problem")), \(count(.warning, "warning"))"
  }

  private static func padded(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
  }

  private static func colored(_ text: String, _ level: Finding.Level) -> String {
    let code =
      switch level {
      case .ok: 32
      case .warning: 33
      case .problem: 31
      }
    return "\u{1b}[\(code)m\(text)\u{1b}[0m"
  }
}
