import EpochStore
import Glibc

/// The configuration file: `key = value` lines, for all guests, then `[guest NAME]` sections for one each. `#` begins a comment.
public struct Configuration: Sendable {
  public static let defaultPath = "/etc/ckpt/ckpt.conf"

  private var general: [Entry] = []
  private var sections: [(guest: String, entries: [Entry])] = []

  struct Entry: Sendable {
    let key: String
    let value: String
    let line: Int
    /// Whose section it stands in; nil in the general part.
    let guest: String?
  }

  /// What is wrong, and where.
  public struct Fault: Error, Equatable, CustomStringConvertible {
    public let path: String
    public let line: Int
    public let what: String

    public var description: String { line == 0 ? "\(path): \(what)" : "\(path):\(line): \(what)" }
  }

  /// No configuration: every value is the default.
  public init() {}

  /// Reads and checks a file, sections of guests that are not asked for as well. Programs that it names are left alone: they may lie on
  /// a file system that is mounted later, and whoever runs one looks at it then.
  ///
  /// - Throws: ``Fault``.
  public init(path: String) throws(Fault) {
    self = try Configuration(text: try Configuration.read(path), path: path)
  }

  /// Everything that is wrong with a file, by line, programs that could not be run now among it; empty when nothing is.
  public static func faults(path: String) -> [Fault] {
    do throws(Fault) {
      var faults: [Fault] = []
      let configuration = Configuration(text: try read(path), path: path, faults: &faults)
      faults += configuration.entries.compactMap { programFault($0, path) }
      return faults.sorted { $0.line < $1.line }
    } catch { return [error] }
  }

  private static func read(_ path: String) throws(Fault) -> String {
    guard let file = fopen(path, "re") else { throw unreadable(path, errno) }
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: 1 << 20)
    let count = fread(&bytes, 1, bytes.count, file)
    // Of a folder too: it opens, and then has nothing to read.
    guard ferror(file) == 0 else { throw unreadable(path, errno) }
    guard count < bytes.count else { throw Fault(path: path, line: 0, what: "it is larger than 1 MiB") }
    return String(decoding: bytes[..<count], as: UTF8.self)
  }

  private static func unreadable(_ path: String, _ code: Int32) -> Fault {
    Fault(path: path, line: 0, what: "\(errnoText(code)); name the right file, or set CKPT_CONFIG")
  }

  init(text: String, path: String) throws(Fault) {
    var faults: [Fault] = []
    self.init(text: text, path: path, faults: &faults)
    if let first = faults.first { throw first }
  }

  private init(text: String, path: String, faults: inout [Fault]) {
    var number = 0
    // Windows ends lines with two characters that are one `Character`.
    for line in text.split(omittingEmptySubsequences: false, whereSeparator: { $0 == "\n" || $0 == "\r\n" }) {
      number += 1
      let words = trim(line.prefix { $0 != "#" })
      if words.isEmpty { continue }
      if words.hasPrefix("[") {
        guard words.hasPrefix("[guest "), words.hasSuffix("]"), words.count > 8 else {
          faults.append(Fault(path: path, line: number, what: "'\(words)' is no section; write [guest NAME]"))
          continue
        }
        sections.append((trim(words.dropFirst(7).dropLast()), []))
        continue
      }
      guard let equals = words.firstIndex(of: "=") else {
        faults.append(Fault(path: path, line: number, what: "'\(words)' is no setting; write KEY = VALUE"))
        continue
      }
      let entry = Entry(
        key: trim(words[..<equals]), value: trim(words[words.index(after: equals)...]), line: number,
        guest: sections.last?.guest)
      if sections.isEmpty { general.append(entry) } else { sections[sections.count - 1].entries.append(entry) }
    }
    // A mistake in any section shows now, not when that guest's turn comes.
    var scratch = TakeOptions()
    for entry in entries {
      do throws(Fault) { try Self.apply(entry, to: &scratch, path) } catch { faults.append(error) }
    }
    faults.sort { $0.line < $1.line }
  }

  private var entries: [Entry] { general + sections.flatMap(\.entries) }

  /// The names of guests that have a section of their own, sorted.
  public var sectionNames: [String] { Set(sections.map(\.guest)).sorted() }

  /// Guests that the service takes at a time by schedule.
  public var takesAtOnce: Int { options(for: "").takesAtOnce }

  /// What holds for one guest: its own section over the general part.
  public func options(for guest: String) -> TakeOptions {
    var options = TakeOptions()
    for entry in general + sections.filter({ $0.guest == guest }).flatMap(\.entries) {
      try? Self.apply(entry, to: &options, "")
    }
    return options
  }

  /// How many epochs the policies keep of one guest at most, as far as their rules count them.
  public var keptEpochs: Int {
    let policies = ([""] + sections.map(\.guest)).map { options(for: $0).retention }
    let counts = policies.map { $0.last + $0.minutely + $0.hourly + $0.daily + $0.weekly + $0.monthly + $0.yearly }
    return counts.max() ?? 0
  }
}

private func trim(_ text: some StringProtocol) -> String {
  let start = text.drop { $0 == " " || $0 == "\t" || $0 == "\r" }
  let end = start.lastIndex { $0 != " " && $0 != "\t" && $0 != "\r" }
  return end.map { String(start[...$0]) } ?? ""
}

/// A number of bytes as people write it.
public enum ByteCount {
  /// No host has so many: 1024 TiB. Whatever is counted up to it fits into an `Int` and a file's offset.
  public static let largest: UInt64 = 1 << 50

  /// Reads `10G`, `512M`, `4096`: binary units. Nil for anything else, for 0, and for more than ``largest``.
  public static func parse(_ text: String) -> UInt64? {
    let units: [Character: UInt64] = ["K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40]
    let unit = text.last.flatMap { units[Character($0.uppercased())] }
    let digits = unit == nil ? Substring(text) : text.dropLast()
    guard let number = UInt64(digits), number > 0 else { return nil }
    let (product, overflow) = number.multipliedReportingOverflow(by: unit ?? 1)
    return overflow || product > largest ? nil : product
  }

  /// In the largest unit that gives at least 1, with a digit behind the point: `1.5G`.
  static func text(_ bytes: UInt64) -> String {
    var (value, unit) = (Double(bytes), 0)
    let units = ["B", "K", "M", "G", "T", "P"]
    while value >= 1024, unit < units.count - 1 { (value, unit) = (value / 1024, unit + 1) }
    let tenths = Int((value * 10).rounded())
    return unit == 0 ? "\(bytes)B" : "\(tenths / 10).\(tenths % 10)\(units[unit])"
  }
}
