/// What one check of a host found.
public struct Finding: Sendable, Equatable {
  /// How bad it is.
  public enum Level: String, Sendable, Comparable, CaseIterable {
    case ok
    /// Epochs can be taken; something is worth a look.
    case warning
    /// Something does not work until it is mended.
    case problem

    public static func < (left: Level, right: Level) -> Bool {
      allCases.firstIndex(of: left)! < allCases.firstIndex(of: right)!
    }
  }

  /// What it is about; in the order in which a person would mend things.
  public enum Area: String, Sendable, CaseIterable {
    case xen, devices, libraries, programs, kernel, config, store, pools, lvm, units
    case service, schedules, guests, recover
  }

  public var level: Level
  public var area: Area
  /// Which pool, guest, unit or path; nil for the host.
  public var subject: String?
  public var what: String
  /// The next command, or what else to do; nil when there is nothing to do.
  public var fix: String?

  public init(_ level: Level, _ area: Area, of subject: String? = nil, _ what: String, fix: String? = nil) {
    (self.level, self.area, self.subject, self.what, self.fix) = (level, area, subject, what, fix)
  }

  /// An error of ours, or a warning: what is wrong, a semicolon, what to do.
  init(_ level: Level, _ area: Area, of subject: String? = nil, told text: String) {
    guard let end = text.firstRange(of: "; ") else {
      self.init(level, area, of: subject, text)
      return
    }
    // Nothing ever was: nobody asked for a change.
    let fix = text[end.upperBound...].replacing("nothing was changed; ", with: "")
    self.init(level, area, of: subject, String(text[..<end.lowerBound]), fix: String(fix))
  }
}
