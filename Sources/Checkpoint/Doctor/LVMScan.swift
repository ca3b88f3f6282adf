import Glibc

/// Which block devices LVM looks into for its volume groups: its settings, as `lvmconfig` prints them.
///
/// A guest may make volume groups inside its disk. Where LVM in dom0 scans that disk, it finds them, shows them beside its own, and
/// `vgchange -ay` at boot opens the guest's disk under its hands.
public struct LVMScan: Sendable, Equatable {
  public var globalFilter: [String] = []
  public var filter: [String] = []
  /// LVM uses the devices that this text lists, and no others; nil when it looks at all.
  public var devicesFile: String?

  public init() {}

  /// - Parameters:
  ///   - settings: `devices/global_filter`, `devices/filter` and `devices/use_devicesfile`, a line each.
  ///   - devicesFile: the text of the devices file, when there is one.
  public init(settings: String, devicesFile: String?) {
    var usesFile = false
    for line in settings.split(separator: "\n") {
      let parts = line.split(separator: "=", maxSplits: 1).map { $0.trimmingPrefix { $0 == " " || $0 == "\t" } }
      guard parts.count == 2 else { continue }
      switch parts[0] {
      case "global_filter": globalFilter = LVMScan.strings(parts[1])
      case "filter": filter = LVMScan.strings(parts[1])
      case "use_devicesfile": usesFile = parts[1] == "1"
      default: break
      }
    }
    self.devicesFile = usesFile ? devicesFile : nil
  }

  /// Whether LVM reads a device that has these names.
  public func looksInto(_ names: [String]) -> Bool {
    guard LVMScan.accepts(names, globalFilter) else { return false }
    // With a devices file LVM does not ask `filter`.
    guard let devicesFile else { return LVMScan.accepts(names, filter) }
    return devicesFile.split(separator: "\n").contains { line in
      names.contains { line.hasSuffix("=" + $0) || line.contains("=\($0) ") }
    }
  }

  /// lvm.conf(5): accepted if any of its names matches an `a` pattern before an `r` pattern, rejected if any matches an `r`
  /// pattern first and none an `a`; names that match nothing do not count; one without a match is accepted.
  static func accepts(_ names: [String], _ patterns: [String]) -> Bool {
    let verdicts = names.compactMap { name in
      patterns.first { matches(name, $0) }.map { $0.hasPrefix("a") }
    }
    return verdicts.isEmpty || verdicts.contains(true)
  }

  /// `a|EXPRESSION|`, with any character for the bar.
  private static func matches(_ name: String, _ pattern: String) -> Bool {
    guard let bar = pattern.dropFirst().first else { return false }
    let expression = String(pattern.dropFirst(2).prefix { $0 != bar })
    var compiled = regex_t()
    guard regcomp(&compiled, expression, REG_EXTENDED | REG_NOSUB) == 0 else { return false }
    defer { regfree(&compiled) }
    return regexec(&compiled, name, 0, nil, 0) == 0
  }

  /// The strings of `["a|x|", "r|y|"]`, or of one string alone.
  private static func strings(_ text: Substring) -> [String] {
    var result: [String] = []
    var current: String?
    var isEscaped = false
    for character in text {
      if isEscaped {
        current?.append(character)
        isEscaped = false
      } else if character == "\\", current != nil {
        isEscaped = true
      } else if character == "\"" {
        if let string = current { result.append(string) }
        current = current == nil ? "" : nil
      } else {
        current?.append(character)
      }
    }
    return result
  }
}
