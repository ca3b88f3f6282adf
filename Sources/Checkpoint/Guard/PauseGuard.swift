import Dispatch
import Glibc

/// The guard of one take, as the engine holds it: `ckpt-guard`, a process of its own.
///
/// It holds the other end of a socket. When that closes without a farewell, because the engine was killed, it resumes the devices and
/// the guest; it does so as well when the pause's limit passes and the engine, stopped or hung, has not.
final class PauseGuard: PauseKeeper, @unchecked Sendable {
  // Unchecked: nothing changes after the start but the shared memory, by atomic operations.
  private let claim: PauseClaim
  /// Our end of the socket; its end of file is the engine's death.
  private let lifeline: Int32
  private let pid: pid_t

  /// Words on the lifeline. The state is in the shared memory; a word only wakes the guard.
  enum Word: UInt8 {
    /// Look at the state.
    case look = 0x6c
    /// The take is over, the guest runs.
    case farewell = 0x66
  }

  /// Starts the guard; it makes itself ready while the take goes on.
  ///
  /// - Parameters:
  ///   - devices: names of the guest's live volumes.
  /// - Throws: ``GuardError``.
  init(store: String, domain: UInt32, uuid: String, devices: [String]) throws(GuardError) {
    claim = try PauseClaim()
    var ends: [Int32] = [-1, -1]
    let kind = Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else {
      throw .cannotStart("a socket: \(String(cString: strerror(errno)))")
    }
    lifeline = ends[0]
    do throws(GuardError) {
      defer { close(ends[1]) }
      pid = try PauseGuard.spawn(
        [try PauseGuard.executable(), store, String(domain), uuid] + devices,
        descriptors: [(ends[1], GuardDuty.lifeline), (claim.descriptor, GuardDuty.claim)])
    } catch {
      close(lifeline)
      throw error
    }
  }

  /// What the guard says when it has opened all that it needs: that it is ready, or why not.
  private static func firstWords(_ lifeline: Int32) -> String {
    var waiting = pollfd(fd: lifeline, events: Int16(POLLIN), revents: 0)
    guard poll(&waiting, 1, 30_000) == 1 else { return "it says nothing for 30 seconds" }
    var words = [UInt8](repeating: 0, count: 1024)
    let count = recv(lifeline, &words, words.count, 0)
    return count > 0 ? String(decoding: words[..<count], as: UTF8.self) : "it ended at once"
  }

  /// The program lies beside the one that runs; an installed one in the package's folder.
  static func executable() throws(GuardError) -> String {
    var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
    let count = max(0, readlink("/proc/self/exe", &buffer, buffer.count - 1))
    let own = String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let folder = own.lastIndex(of: "/").map { String(own[..<$0]) } ?? ""
    let places = ["\(folder)/ckpt-guard", "/usr/lib/ckpt/ckpt-guard"]
    guard let found = places.first(where: { access($0, X_OK) == 0 }) else {
      throw .cannotStart("it is neither \(places.joined(separator: " nor "))")
    }
    return found
  }

  /// A session of its own: what a terminal or a service manager sends to the engine's group is not for the guard.
  private static func spawn(_ words: [String], descriptors: [(Int32, Int32)]) throws(GuardError) -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    // Out of the way first, above all of ours: one of them may have the number that another one shall get.
    let aside = (descriptors.map { max($0.0, $0.1) }.max() ?? 0) + 1
    for (index, (own, _)) in descriptors.enumerated() {
      posix_spawn_file_actions_adddup2(&actions, own, aside + Int32(index))
    }
    for (index, (_, number)) in descriptors.enumerated() {
      posix_spawn_file_actions_adddup2(&actions, aside + Int32(index), number)
      posix_spawn_file_actions_addclose(&actions, aside + Int32(index))
    }
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    // Glibc's module has no POSIX_SPAWN_SETSID (spawn.h: 0x80).
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | 0x80))
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
    arguments.append(nil)
    defer { for argument in arguments { free(argument) } }
    var pid: pid_t = 0
    let code = posix_spawn(&pid, words[0], &actions, &attributes, arguments, environ)
    guard code == 0 else { throw .cannotStart("\(words[0]): \(String(cString: strerror(code)))") }
    return pid
  }

  private static func reap(_ pid: pid_t) {
    while waitpid(pid, nil, 0) < 0, errno == EINTR {}
  }

  /// False when there is no guard any more.
  private func say(_ word: Word) -> Bool {
    var byte = word.rawValue
    return send(lifeline, &byte, 1, Int32(MSG_NOSIGNAL)) == 1
  }

  // MARK: PauseKeeper

  func awaitReady() throws {
    let answer = PauseGuard.firstWords(lifeline)
    guard answer == GuardDuty.ready else { throw GuardError.cannotStart(answer) }
  }

  func asked(seconds: Double) throws {
    claim.ask(deadline: PauseClaim.now + UInt64(seconds * 1e9))
    guard say(.look) else { throw GuardError.died }
  }

  func prolong(seconds: Double) -> Bool { claim.prolong(deadline: PauseClaim.now + UInt64(seconds * 1e9)) }

  func release() -> Bool { claim.change(.asked, to: .lettingGo) }

  var hasTaken: Bool { claim.state == .taken }

  func resumed() { if claim.change(.lettingGo, to: .over) { _ = say(.look) } }

  func released() {
    if claim.change(.lettingGo, to: .calm) || claim.change(.asked, to: .calm) { _ = say(.look) }
  }

  func dismiss(calm: Bool) {
    if calm { _ = say(.farewell) }
    close(lifeline)
    let pid = pid
    // Without a farewell it looks after the guest, which may take a minute: nobody waits for that here.
    if calm { PauseGuard.reap(pid) } else { DispatchQueue.global().async { PauseGuard.reap(pid) } }
  }
}
