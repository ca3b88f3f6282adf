import CLinux
import Dispatch
import Glibc
import Xen

/// A program of the configuration at work: a process group of its own, with nothing of ours open but its input and output.
final class HookProcess: @unchecked Sendable {
  // Unchecked: one thread at a time waits for it and reads its output; `kill` and `hasEnded` touch only what never changes.
  private let pid: pid_t
  /// Can be read when the process has ended.
  private let ending: Int32
  /// What it prints; -1 when it has closed it.
  private var output: Int32
  private var tail = OutputTail()

  /// - Parameters:
  ///   - words: program and arguments.
  ///   - environment: all of it.
  ///   - input: its standard input.
  /// - Throws: why it cannot be started.
  init(_ words: [String], environment: [String: String], input: Int32) throws(HookStart) {
    var ends: [Int32] = [-1, -1]
    guard pipe2(&ends, O_CLOEXEC) == 0 else { throw HookStart(errno) }
    defer { close(ends[1]) }
    _ = fcntl(ends[0], F_SETFL, O_NONBLOCK)
    let started = HookProcess.spawn(words, environment, input: input, output: ends[1])
    guard started.code == 0 else {
      close(ends[0])
      throw HookStart(started.code)
    }
    // Good for a process that has ended by now as well: only we can take its status away.
    let ending = pidfd_open(started.pid, 0)
    guard ending >= 0 else {
      let code = errno
      close(ends[0])
      HookProcess.killGroup(started.pid)
      HookProcess.reap(started.pid)
      throw HookStart(code)
    }
    (pid, self.ending, output) = (started.pid, ending, ends[0])
  }

  deinit {
    close(ending)
    if output >= 0 { close(output) }
  }

  private static func spawn(
    _ words: [String], _ environment: [String: String], input: Int32, output: Int32
  ) -> (pid: pid_t, code: Int32) {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, input, 0)
    posix_spawn_file_actions_adddup2(&actions, output, 1)
    posix_spawn_file_actions_adddup2(&actions, output, 2)
    _ = ckpt_spawn_close_from(&actions, 3)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var (none, all) = (sigset_t(), sigset_t())
    sigemptyset(&none)
    sigfillset(&all)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setsigdefault(&attributes, &all)
    posix_spawnattr_setpgroup(&attributes, 0)
    posix_spawnattr_setflags(
      &attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP))
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
    var variables: [UnsafeMutablePointer<CChar>?] = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { for text in arguments + variables { free(text) } }
    var pid: pid_t = 0
    let code = posix_spawn(&pid, words[0], &actions, &attributes, &arguments, &variables)
    return (pid, code)
  }

  /// Waits until it ends, keeping what it prints.
  ///
  /// - Parameter mayGoOn: looked at ten times a second; what it throws ends the wait.
  /// - Returns: false when it still runs at `deadline`.
  func hasEnded(by deadline: ContinuousClock.Instant, _ mayGoOn: () throws -> Void) rethrows -> Bool {
    while true {
      try mayGoOn()
      let left = (deadline - .now).milliseconds
      var waiting = [
        pollfd(fd: ending, events: Int16(POLLIN), revents: 0), pollfd(fd: output, events: Int16(POLLIN), revents: 0),
      ]
      _ = poll(&waiting, 2, Int32(max(0, min(100, left.rounded(.up)))))
      if waiting[1].revents != 0 { readOutput() }
      if waiting[0].revents != 0 { return true }
      if left <= 0 { return false }
    }
  }

  /// As ``hasEnded(by:_:)``, and nothing else: for the pause.
  func endsBy(_ deadline: ContinuousClock.Instant) -> Bool {
    var waiting = pollfd(fd: ending, events: Int16(POLLIN), revents: 0)
    while true {
      let left = (deadline - .now).milliseconds
      if poll(&waiting, 1, Int32(max(0, min(60_000, left.rounded(.up))))) > 0 { return true }
      if left <= 0 { return false }
    }
  }

  /// Ends it, and what it started in its process group.
  func kill() { HookProcess.killGroup(pid) }

  private static func killGroup(_ pid: pid_t) { _ = Glibc.kill(-pid, SIGKILL) }

  /// Takes the status of a process that has ended, or was killed, away.
  ///
  /// - Returns: as a shell has it, and the last lines that it printed; nil when the kernel does not let go of it yet: then
  ///   nobody waits for it here.
  func collect() -> (status: Int32, said: String)? {
    readOutput()
    guard endsBy(.now + .seconds(2)) else {
      let pid = pid
      DispatchQueue(label: "late hook").async { HookProcess.reap(pid) }
      return nil
    }
    let status = HookProcess.reap(pid)
    readOutput()
    return (status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f), tail.lines)
  }

  @discardableResult
  private static func reap(_ pid: pid_t) -> Int32 {
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    return status
  }

  private func readOutput() {
    guard output >= 0 else { return }
    var chunk = [UInt8](repeating: 0, count: 4096)
    // Bounded: one that prints without end must not keep us here.
    for _ in 0..<64 {
      let count = read(output, &chunk, chunk.count)
      if count > 0 {
        tail.add(chunk[..<count])
      } else if count == 0 {
        close(output)
        output = -1
        return
      } else if errno != EINTR {
        return
      }
    }
  }
}

/// Why a process could not be started.
struct HookStart: Error {
  let why: String

  init(_ code: Int32) { why = String(cString: strerror(code)) }
}

/// The end of what a program prints.
struct OutputTail {
  private var bytes: [UInt8] = []

  /// Bytes that are kept.
  static let most = 2048

  mutating func add(_ more: ArraySlice<UInt8>) {
    bytes += more
    if bytes.count > OutputTail.most { bytes.removeFirst(bytes.count - OutputTail.most) }
  }

  /// The last three lines on one, without what a terminal would obey.
  var lines: String {
    let text = String(decoding: bytes, as: UTF8.self)
    let lines = text.split(whereSeparator: \.isNewline).suffix(3).map { Printable.line(String($0.suffix(160))) }
    return lines.joined(separator: "; ")
  }
}
