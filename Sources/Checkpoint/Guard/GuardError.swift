/// What keeps a take from having its guard.
public enum GuardError: Error, Equatable, CustomStringConvertible {
  /// The guest was not touched.
  case cannotStart(String)
  /// It ended before the pause began; the guest was not asked.
  case died

  public var description: String {
    switch self {
    case .cannotStart(let why):
      "the guard of the pause, ckpt-guard, cannot start: \(why); nothing was changed; install it beside ckpt"
    case .died: "the guard of the pause, ckpt-guard, ended before the pause; the guest was not asked to suspend"
    }
  }
}
