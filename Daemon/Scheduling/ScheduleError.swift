/// What can go wrong with schedules. Every message is one line: what, where, what to do.
public enum ScheduleError: Error, Equatable, Sendable, CustomStringConvertible {
  /// A value that no schedule can have.
  case badValue(String)
  /// The file of schedules holds what it must not; `place` is like `schedules[2].every`, empty where it is no JSON at all.
  case badFile(path: String, place: String, what: String)
  case otherFormat(path: String, version: Int)
  /// There are schedules for `known` alone.
  case noSchedule(guest: String, known: [String])
  /// systemd refuses a calendar expression, in its own words.
  case refused(expression: String, words: String)
  /// systemd says what we do not understand, or cannot be asked.
  case calendar(expression: String, what: String)
  /// Another process runs the schedules of the store; `pid` when the kernel tells it.
  case runElsewhere(pid: Int32?)

  public var description: String {
    switch self {
    case .badValue(let what): return what
    case .badFile(let path, let place, let what):
      return "\(path): \(place.isEmpty ? "" : "\(place): ")\(what); nothing was changed; mend the file"
    case .otherFormat(let path, let version):
      return "\(path) has format \(version), this ckpt reads \(ScheduleFile.format); use the ckpt that wrote it"
    case .noSchedule(let guest, let known):
      let others = known.isEmpty ? "there are no schedules" : "there are schedules for \(known.joined(separator: ", "))"
      return "there is no schedule for '\(guest)'; \(others)"
    case .refused(_, let words):
      return "\(words); see systemd.time(7), or try `systemd-analyze calendar`"
    case .calendar(let expression, let what):
      return "cannot tell when '\(expression)' is: \(what)"
    case .runElsewhere(let pid):
      return "\(pid.map { "process \($0)" } ?? "another process") runs those of this store; end one of the two services"
    }
  }
}
