import Glibc
import Logging
import Xen

/// Log lines for the journal: on standard error, with the priority in front as sd-daemon(3) has it. The journal knows the time.
/// On a terminal the lines have no priority.
struct JournalLog: LogHandler {
  var metadata: Logger.Metadata = [:]
  var logLevel = Logger.Level.info
  private let isTerminal = isatty(STDERR_FILENO) == 1

  static func logger() -> Logger { Logger(label: "ckptd", factory: { _ in JournalLog() }) }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    // An error may quote a guest, a damaged file or another tool.
    let text = Printable.line("\(event.message)")
    var line = isTerminal ? "ckptd: \(text)\n" : "<\(JournalLog.priority(of: event.level))>\(text)\n"
    // One write, so that lines of several threads do not mix.
    line.withUTF8 { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
  }

  /// syslog(3).
  static func priority(of level: Logger.Level) -> Int {
    switch level {
    case .trace, .debug: 7
    case .info: 6
    case .notice: 5
    case .warning: 4
    case .error: 3
    case .critical: 2
    }
  }
}
