import Glibc

/// The service manager that started us, if one did: sd_notify(3), and the sockets it passes, sd_listen_fds(3).
struct Manager: Sendable {
  /// Where it listens; a path, or a name in the abstract space after `@`.
  private let address: String?
  /// How often it wants to hear from us, at most; nil when it does not.
  let watchdog: Duration?
  /// Sockets that it opened for us, from this number on.
  static let firstSocket: Int32 = 3
  let sockets: Int

  /// Reads what the environment says, and takes it out of there: it is not for our children.
  static func fromEnvironment() -> Manager {
    func take(_ name: String) -> String? {
      defer { unsetenv(name) }
      return getenv(name).map { String(cString: $0) }
    }
    let isForUs = take("LISTEN_PID").flatMap { pid_t($0) } == getpid()
    let sockets = take("LISTEN_FDS").flatMap { Int($0) } ?? 0
    _ = take("LISTEN_FDNAMES")
    let isWatched = take("WATCHDOG_PID").map { pid_t($0) == getpid() } ?? true
    let interval = take("WATCHDOG_USEC").flatMap { Int64($0) }.map { Duration.microseconds($0) }
    return Manager(
      address: take("NOTIFY_SOCKET"), watchdog: isWatched ? interval : nil, sockets: isForUs ? max(0, sockets) : 0)
  }

  init(address: String?, watchdog: Duration? = nil, sockets: Int = 0) {
    self.address = address
    self.watchdog = watchdog
    self.sockets = sockets
  }

  func ready() { tell("READY=1") }
  func stopping() { tell("STOPPING=1") }
  func alive() { tell("WATCHDOG=1") }

  private func tell(_ words: String) {
    guard let address, var target = UnixAddress(address) else { return }
    let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { return }
    defer { close(descriptor) }
    let bytes = Array(words.utf8)
    _ = target.withSockaddr { sendto(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL), $0, $1) }
  }
}
