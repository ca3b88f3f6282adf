import Checkpoint
import FoundationEssentials
import Glibc
import Xen

/// What goes to the terminal, and what is asked there.
enum Terminal {
  /// One line, whatever stands in it: an error may quote a guest, a damaged file or another tool.
  static func error(_ line: String) { write(Printable.line(line) + "\n") }

  /// What the parser says, in lines of its own.
  static func refusal(_ text: String) { write(text + "\n") }

  /// A line of what was asked for, whatever stands in it.
  static func say(_ line: String) { print(Printable.line(line)) }

  /// Straight to the descriptor: C's stderr is shared mutable state to Swift.
  private static func write(_ text: String) {
    var text = text
    text.withUTF8 { _ = Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
  }

  /// A step of a long command; only people want to see it.
  static func progress(_ line: String) {
    if isatty(STDERR_FILENO) == 1 { write(Printable.line(line) + "\n") }
  }

  /// A line that the next status, or an empty one, replaces; for people only.
  static func status(_ line: String) {
    if isatty(STDERR_FILENO) == 1 { write("\r\u{1b}[K" + Printable.line(line)) }
  }

  /// Colours are for a terminal whose user has not said no (no-color.org).
  static var usesColor: Bool {
    isatty(STDOUT_FILENO) == 1 && environment("NO_COLOR") == nil && environment("TERM") != "dumb"
  }

  /// Asks before something is destroyed.
  ///
  /// - Parameter seconds: within which the answer must come, else it is no.
  /// - Throws: ``UsageRefused`` where nobody can answer, or when the answer is no.
  static func confirm(_ question: String, yes: Bool, within seconds: Double = .infinity) throws {
    if yes { return }
    guard isatty(STDIN_FILENO) == 1 else {
      throw UsageRefused(description: "\(question) Say --yes, there is no terminal to ask on; nothing was changed")
    }
    write("\(Printable.line(question)) Go on? [y/N] ")
    guard hasInput(STDIN_FILENO, within: seconds) else {
      throw UsageRefused(description: "no answer within \(Int(seconds)) s, which is a no; nothing was changed")
    }
    guard let answer = readLine(), ["y", "yes"].contains(answer.lowercased()) else {
      throw UsageRefused(description: "not confirmed; nothing was changed")
    }
  }

  /// Waits until there is something to read, or nobody is left who could write. False when the time is over.
  static func hasInput(_ descriptor: Int32, within seconds: Double) -> Bool {
    guard seconds.isFinite else { return true }
    let end = ContinuousClock.now + .seconds(seconds)
    var input = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    while true {
      let left = max(0, (end - ContinuousClock.now).milliseconds.rounded(.up))
      let count = poll(&input, 1, Int32(left))
      if count >= 0 || errno != EINTR { return count != 0 }
    }
  }

  static func printJSON(_ value: some Encodable) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    print(String(decoding: try encoder.encode(value), as: UTF8.self))
  }
}

/// How sizes and times are written and read.
enum Quantity {
  /// `1.5G`, `64M`, `512`: binary units.
  static func bytes(_ count: UInt64) -> String {
    let units = ["B", "K", "M", "G", "T"]
    var value = Double(count)
    var unit = 0
    while value >= 1024, unit < units.count - 1 {
      value /= 1024
      unit += 1
    }
    return unit == 0 ? "\(count)B" : tenths(value) + units[unit]
  }

  static func milliseconds(_ value: Double) -> String { tenths(value) + " ms" }

  /// The whole part of a number from a file, which may hold any.
  static func whole(_ value: Double) -> Int { value.magnitude < 1e15 ? Int(value) : value < 0 ? .min : .max }

  private static func tenths(_ value: Double) -> String {
    guard value.magnitude < 1e15 else { return "\(value)" }
    let tenths = Int((value * 10).rounded())
    return "\(tenths / 10).\(tenths % 10)"
  }

  /// Reads `10G`, `512M`, `4096`.
  ///
  /// - Throws: ``UsageRefused``.
  static func parseBytes(_ text: String) throws -> UInt64 {
    guard let number = ByteCount.parse(text) else {
      throw UsageRefused(description: "'\(text)' is no size; write it like 10G, 512M or 4096, 1024T at most")
    }
    return number
  }
}
