import CLinux
import Glibc
import Xen

/// Runs a tool of the host and waits for it.
package enum Command {
  struct Result {
    let status: Int32
    let output: [UInt8]
    let errors: String
  }

  /// - Parameter mayGoOn: asked again and again meanwhile; ends the tool by throwing.
  /// - Throws: ``CheckpointError/tool(command:status:message:)`` when it cannot be started or fails.
  @discardableResult
  static func run(_ arguments: [String], _ mayGoOn: (() throws -> Void)? = nil) throws -> [UInt8] {
    let child = try Child(arguments)
    child.closeInput()
    let result = try child.wait(mayGoOn)
    guard result.status == 0 else {
      throw CheckpointError.tool(
        command: arguments.joined(separator: " "), status: result.status, message: firstLines(result.errors))
    }
    return result.output
  }

  /// What a tool ends with and says, whatever that is.
  ///
  /// - Throws: ``CheckpointError/tool(command:status:message:)`` when it cannot be started.
  @Sendable package static func finish(
    _ arguments: [String]
  ) throws -> (status: Int32, output: String, errors: String) {
    let result = try Child(arguments).wait()
    return (result.status, String(decoding: result.output, as: UTF8.self), result.errors)
  }

  /// The last words of a tool: those of a program in Python, behind the way to them.
  static func lastLine(_ text: String) -> String {
    text.split(separator: "\n").last.map { Printable.line(String($0.prefix(1000))) } ?? "it said nothing"
  }

  /// The words of a tool on one line. libxl tells the cause first and then, at length, what followed from it.
  static func firstLines(_ text: String) -> String {
    let lines = text.split(separator: "\n").map { $0.trimmingPrefix { $0 == " " } }
    let errors = lines.filter { $0.contains("error") }
    let told = (errors.isEmpty ? lines : errors).prefix(3)
    return told.isEmpty ? "it said nothing" : Printable.line(String(told.joined(separator: "; ").prefix(1000)))
  }
}

/// A child process whose standard input is a pipe of ours.
///
/// Its output goes to unnamed files, not to pipes: `xl restore` leaves a monitor behind that would hold a pipe open.
final class Child {
  /// The write end of the child's standard input.
  private(set) var input: Int32
  private let pid: pid_t
  private let name: String
  private let output: Int32
  private let errors: Int32

  /// - Parameters:
  ///   - source: its standard input from where it stands, instead of a pipe; the caller closes it.
  ///   - destination: gets what it prints, instead of the result; the caller closes it.
  ///   - inputBytes: what the pipe shall hold.
  init(
    _ arguments: [String], input source: Int32? = nil, output destination: Int32? = nil, inputBytes: Int32? = nil
  ) throws {
    name = arguments[0]
    var ends: [Int32] = [-1, -1]
    let output = try Child.unnamedFile(name)
    let errors: Int32
    do { errors = try Child.unnamedFile(name) } catch {
      close(output)
      throw error
    }
    // The child must not hold the write end of its own input, nor another child, or it would wait for ever.
    guard pipe2(&ends, O_CLOEXEC) == 0 else {
      let code = errno
      close(output)
      close(errors)
      throw Child.failed(name, code)
    }
    (self.output, self.errors, input) = (output, errors, ends[1])
    // Without the right to so much it is as large as pipes are.
    if let inputBytes { _ = fcntl(input, ckpt_F_SETPIPE_SZ, inputBytes) }

    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, source ?? ends[0], 0)
    posix_spawn_file_actions_adddup2(&actions, destination ?? output, 1)
    posix_spawn_file_actions_adddup2(&actions, errors, 2)
    posix_spawn_file_actions_addclose(&actions, ends[0])
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var defaults = sigset_t()
    sigemptyset(&defaults)
    for signal in [SIGPIPE, SIGXFSZ] { sigaddset(&defaults, signal) }
    posix_spawnattr_setsigdefault(&attributes, &defaults)
    // A thread of Dispatch blocks nearly all signals; libxl waits for its SIGCHLD.
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    // A terminal's Ctrl-C is for us: xl and LVM are not to be broken off in their work. They end by themselves, or by their pipe.
    posix_spawnattr_setpgroup(&attributes, 0)
    posix_spawnattr_setflags(
      &attributes, Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP))

    var arguments: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) }
    arguments.append(nil)
    defer { for argument in arguments { free(argument) } }
    var pid: pid_t = 0
    let code = posix_spawnp(&pid, arguments[0]!, &actions, &attributes, arguments, environ)
    close(ends[0])
    self.pid = pid
    guard code == 0 else {
      close(input)
      close(output)
      close(errors)
      throw Child.failed(name, code)
    }
  }

  func closeInput() {
    guard input >= 0 else { return }
    close(input)
    input = -1
  }

  /// Ends a tool that was given nothing to do.
  func discard() {
    kill(pid, SIGKILL)
    _ = try? wait()
  }

  /// - Parameter mayGoOn: as ``Command/run(_:_:)`` has it.
  func wait(_ mayGoOn: (() throws -> Void)? = nil) throws -> Command.Result {
    closeInput()
    defer {
      close(output)
      close(errors)
    }
    let status = try end(mayGoOn)
    let code = status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f)
    return Command.Result(
      status: code, output: Child.contents(output), errors: String(decoding: Child.contents(errors), as: UTF8.self))
  }

  private func end(_ mayGoOn: (() throws -> Void)?) throws -> Int32 {
    var status: Int32 = 0
    while true {
      let ended = waitpid(pid, &status, mayGoOn == nil ? 0 : WNOHANG)
      if ended == pid { return status }
      guard ended == 0 || errno == EINTR else { throw Child.failed(name, errno) }
      do { try mayGoOn?() } catch {
        kill(pid, SIGKILL)
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        throw error
      }
      if ended == 0 { usleep(20_000) }
    }
  }

  private static func unnamedFile(_ name: String) throws -> Int32 {
    guard let file = tmpfile() else { throw failed(name, errno) }
    defer { fclose(file) }
    let descriptor = fcntl(fileno(file), F_DUPFD_CLOEXEC, 3)
    guard descriptor >= 0 else { throw failed(name, errno) }
    return descriptor
  }

  private static func contents(_ descriptor: Int32) -> [UInt8] {
    let size = Int(max(0, lseek(descriptor, 0, SEEK_END)))
    return [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
      count = max(0, pread(descriptor, buffer.baseAddress, size, 0))
    }
  }

  private static func failed(_ name: String, _ code: Int32) -> CheckpointError {
    .tool(command: name, status: code, message: String(cString: strerror(code)))
  }
}
