import Glibc

/// A process of this host, told by number and start time, so that a later one with the same number is not taken for it.
public struct ProcessIdentity: Sendable, Equatable {
  private let id: pid_t
  /// In clock ticks since the boot.
  private let start: UInt64

  /// This process.
  public static var own: ProcessIdentity { ProcessIdentity(id: getpid(), start: startTime(getpid()) ?? 0) }
  /// No process: what nobody answers for any more.
  public static let nobody = ProcessIdentity(id: 0, start: 0)

  private init(id: pid_t, start: UInt64) { (self.id, self.start) = (id, start) }

  /// Two words, as ``text`` gives them; nil for anything else.
  public init?(_ text: String) {
    let words = text.split(separator: " ", omittingEmptySubsequences: false)
    guard words.count == 2, let id = pid_t(words[0]), let start = UInt64(words[1]) else { return nil }
    self.init(id: id, start: start)
  }

  public var text: String { "\(id) \(start)" }

  func has(_ number: pid_t) -> Bool { id == number }

  /// Whether it runs still. One that ended and was not collected by its parent does not.
  public var isAlive: Bool { ProcessIdentity.startTime(id) == start }

  /// When a process began (proc(5), field 22 of `stat`); nil when there is none.
  static func startTime(_ process: pid_t) -> UInt64? {
    guard let file = fopen("/proc/\(process)/stat", "re") else { return nil }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 1024)
    guard fgets(&line, Int32(line.count), file) != nil else { return nil }
    // The name in parentheses may hold anything; the fields after it are counted from 3, the state.
    let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    guard let end = text.lastIndex(of: ")") else { return nil }
    let fields = text[text.index(after: end)...].split(separator: " ")
    guard fields.count > 19, fields[0] != "Z", fields[0] != "X" else { return nil }
    return UInt64(fields[19])
  }
}
