import Dispatch
import Glibc
import Logging
import ServiceLifecycle

/// Tells systemd that the service lives, as long as it does: each time a request of its own, through its own socket, was answered.
struct Watchdog: Service {
  let manager: Manager
  let socket: String
  let logger: Logger
  /// What a self-check is, and what passes the time between two; scripts in unit tests.
  var check: @Sendable (String) -> Bool = Watchdog.ask
  var sleep: @Sendable (Duration) async throws -> Void = { try await Task.sleep(for: $0) }

  func run() async throws {
    guard let interval = manager.watchdog else { return try await gracefulShutdown() }
    // Half of what is allowed, as sd_watchdog_enabled(3) advises.
    let half = interval / 2
    try? await cancelWhenGracefulShutdown {
      var pause = half
      while true {
        try await sleep(pause)
        if await answers() {
          manager.alive()
          pause = half
        } else {
          logger.error("no answer on \(socket) within 5 seconds")
          // A moment later it may answer; after the other half systemd would have ended us.
          pause = min(half, .seconds(1))
        }
      }
    }
  }

  private func answers() async -> Bool {
    await withCheckedContinuation { done in
      DispatchQueue.global().async { done.resume(returning: check(socket)) }
    }
  }

  /// One request, by hand: no more than a connection and the first words of the answer.
  static func ask(_ path: String) -> Bool {
    guard var address = UnixAddress(path) else { return false }
    let descriptor = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    var patience = timeval(tv_sec: 5, tv_usec: 0)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      setsockopt(descriptor, SOL_SOCKET, option, &patience, socklen_t(MemoryLayout<timeval>.size))
    }
    guard address.withSockaddr({ connect(descriptor, $0, $1) }) == 0 else { return false }
    let request = Array("GET /v1/status HTTP/1.1\r\nHost: ckptd\r\nConnection: close\r\n\r\n".utf8)
    guard send(descriptor, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else { return false }
    var words = [UInt8](repeating: 0, count: 16)
    return recv(descriptor, &words, words.count, 0) > 12
      && String(decoding: words, as: UTF8.self).hasPrefix("HTTP/1.1 200")
  }
}
