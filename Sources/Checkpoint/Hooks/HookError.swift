/// What went wrong with a program that the configuration names: a hook, or the command for notifications.
public enum HookError: Error, Equatable, CustomStringConvertible {
  /// It must not be run as root: anybody, or nobody, could have written it.
  case refused(path: String, why: String)
  /// It could not be started. From here on `hook` is the configuration's key, as `hook-before`.
  case cannotStart(hook: String, path: String, why: String)
  /// It ended with a status that is not 0; `said` is the end of what it printed.
  case failed(hook: String, path: String, status: Int32, said: String)
  /// It did not end in time and was killed.
  case late(hook: String, path: String, seconds: Double, said: String)

  public var description: String {
    switch self {
    case .refused(let path, let why): "\(path) cannot be a hook: \(why)"
    case .cannotStart(let hook, let path, let why): "\(hook) \(path) cannot be started: \(why)"
    case .failed(let hook, let path, let status, let said):
      "\(hook) \(path) failed with status \(status)" + HookError.quoted(said)
    case .late(let hook, let path, let seconds, let said):
      "\(hook) \(path) did not end within \(seconds) s and was killed" + HookError.quoted(said)
    }
  }

  private static func quoted(_ said: String) -> String { said.isEmpty ? "" : ": \(said)" }
}
