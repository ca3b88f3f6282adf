import DeviceMapper
import Glibc
import Xen

/// What the guard can do for a guest whose engine died or is late.
protocol Ward {
  /// The guest stands suspended.
  var isHeld: Bool { get }
  /// Lets the guest's devices run, then the guest; returns what it did, a line each.
  ///
  /// - Parameter state: how far the engine came. Where it has let the guest go, only its note is left.
  func letGo(from state: PauseClaim.State) -> [String]
  /// Ends what else a dead engine leaves on a guest that runs.
  func cleanUp() -> [String]
}

/// The guard's whole work: `ckpt-guard STORE DOMID UUID [DEVICE…]`, started by ``PauseGuard``.
public struct GuardDuty {
  // Descriptors that the engine passes on.
  static let lifeline: Int32 = 3
  static let claim: Int32 = 4
  /// The first words to the engine.
  static let ready = "ready"

  let lifeline: Int32
  let claim: PauseClaim
  let ward: any Ward
  let report: (String) -> Void

  /// Opens everything, says so, and watches until the take is over. Returns the exit code.
  public static func run(_ arguments: [String]) -> Int32 {
    // Whatever the engine's terminal or service is told is not for the guard.
    for number in [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE] { signal(number, SIG_IGN) }
    protectFromMemoryShortage()
    guard arguments.count >= 4, let number = UInt32(arguments[2]), fcntl(lifeline, F_GETFD) >= 0 else {
      complain("it is started by ckpt, for the time of a take; it is no command of its own")
      return 2
    }
    do {
      let ward = try GuestWard(
        store: arguments[1], domain: number, uuid: arguments[3], devices: Array(arguments[4...]))
      let claim = try PauseClaim(inherited: claim)
      let duty = GuardDuty(lifeline: lifeline, claim: claim, ward: ward, report: complain)
      say(ready)
      duty.watch()
      return 0
    } catch {
      say("\(error)")
      return 1
    }
  }

  /// To the engine's standard error, where its own words went.
  private static func complain(_ line: String) {
    let bytes = Array("ckpt-guard: \(Printable.line(line))\n".utf8)
    _ = write(STDERR_FILENO, bytes, bytes.count)
  }

  private static func say(_ words: String) {
    let bytes = Array(words.utf8.prefix(1000))
    _ = send(lifeline, bytes, bytes.count, Int32(MSG_NOSIGNAL))
  }

  private static func protectFromMemoryShortage() {
    guard let file = fopen("/proc/self/oom_score_adj", "w") else { return }
    fputs("-1000", file)
    fclose(file)
  }

  /// Until the engine says farewell, or is dead and the guest looked after.
  func watch() {
    while true {
      switch next() {
      case .farewell:
        // An engine that lost the guest may have asked it again before it knew.
        if claim.state == .taken { tell(ward.letGo(from: .taken), "the engine was late") }
        return
      case .late: tell(ward.letGo(from: .taken), "the engine is late")
      case .dead:
        tell(ward.letGo(from: claim.state) + ward.cleanUp(), "the engine is dead")
        return
      }
    }
  }

  private func tell(_ lines: [String], _ why: String) {
    for line in lines { report("\(why): \(line)") }
  }

  private enum Event { case farewell, late, dead }

  private func next() -> Event {
    var heldSince: UInt64?
    while true {
      var waiting = pollfd(fd: lifeline, events: Int16(POLLIN), revents: 0)
      if poll(&waiting, 1, millisecondsToWait()) > 0 {
        var word: UInt8 = 0
        let count = recv(lifeline, &word, 1, 0)
        if count == 1 {
          if word == PauseGuard.Word.farewell.rawValue { return .farewell }
          heldSince = nil
          continue
        }
        if count < 0, errno == EINTR { continue }
        return .dead
      }
      let now = PauseClaim.now
      switch claim.state {
      case .calm, .over: heldSince = nil
      case .taken: return .late
      case .asked, .lettingGo:
        // A guest that takes its time to suspend is not held: to give it up is the engine's business.
        guard now >= claim.deadline, ward.isHeld else {
          heldSince = nil
          continue
        }
        let since = heldSince ?? now
        heldSince = since
        if now >= since + GuardDuty.grace, take() { return .late }
      }
    }
  }

  /// How much longer than the limit the engine, which keeps it as well, may hold the guest: nanoseconds.
  private static let grace: UInt64 = 500_000_000

  /// Until the next look, -1: until there is a word. An engine that lost the guest and goes on does not know it yet: what it
  /// still asks of the guest and its devices is looked after again and again.
  private func millisecondsToWait() -> Int32 {
    let (deadline, now) = (claim.deadline, PauseClaim.now)
    switch claim.state {
    case .calm, .over: return -1
    case .taken: return 500
    case .asked, .lettingGo:
      return deadline > now ? Int32(min((deadline - now) / 1_000_000 + 1, 1_000_000)) : 50
    }
  }

  private func take() -> Bool { claim.change(.asked, to: .taken) || claim.change(.lettingGo, to: .taken) }
}
