import Checkpoint
import ControlAPI
import Foundation
import Synchronization
import Testing

@testable import ckpt
@testable import ckptd

/// `ckpt` on a terminal, as it asks whether a restore may destroy what runs.
@Suite("The question before a restore")
struct QuestionTests {
  /// A terminal's two ends.
  private final class PseudoTerminal: Sendable {
    let (user, program): (Int32, Int32)

    init() throws {
      user = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)
      // TIOCSPTLCK and TIOCGPTPEER, which Swift does not import.
      var isLocked: Int32 = 0
      guard ioctl(user, 0x4004_5431, &isLocked) == 0 else { throw POSIXError(.ENODEV) }
      program = ioctl(user, 0x5441, O_RDWR | O_NOCTTY)
      guard program >= 0 else { throw POSIXError(.ENODEV) }
    }
    deinit { close(program) }

    func hangUp() { close(user) }
  }

  private func ckpt(_ socket: String, _ terminal: PseudoTerminal, _ errors: Pipe) -> Process {
    let bundle = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    let process = Process()
    process.executableURL = bundle.deletingLastPathComponent().appendingPathComponent("ckpt")
    process.arguments = ["restore", "web", "3"]
    process.environment = ["PATH": "/usr/bin:/bin", "CKPT_SOCKET": socket]
    process.standardInput = FileHandle(fileDescriptor: terminal.program)
    (process.standardOutput, process.standardError) = (FileHandle.nullDevice, errors)
    return process
  }

  @Test("Ctrl-C is an answer: status 130, and nothing was changed", arguments: [SIGINT, SIGTERM, SIGHUP])
  func interrupted(number: Int32) async throws {
    let (service, log) = (ScriptedService(), LogBook())
    try await withDaemon(service, log: log) { client, _ in
      let (terminal, errors) = (try PseudoTerminal(), Pipe())
      let process = ckpt(client.socket, terminal, errors)
      try process.run()
      let output = errors.fileHandleForReading
      let asked = try await blocking { read(output) { $0.contains("[y/N]") } }
      #expect(asked.contains("Go on?"))
      kill(process.processIdentifier, number)
      try await until { log.all.contains { $0.contains("restore of web") && $0.contains("interrupted") } }
      // Whoever waits for an answer still sees that there is none.
      terminal.hangUp()
      let said = try await blocking { read(output) { _ in false } }
      try await blocking { process.waitUntilExit() }
      #expect(process.terminationReason == .exit && process.terminationStatus == 130)
      #expect(said == "\nckpt: interrupted; nothing was changed\n")
    }
    #expect(service.restored.withLock { $0 }.isEmpty)
  }

  @Test("that nobody answers in time is answered with no, for good")
  func unanswered() {
    let operation = ckptd.Operation(id: "1", kind: "restore", guest: "web", origin: "uid 0")
    #expect { try operation.ask(seconds: 0) } throws: {
      guard let failure = $0 as? ControlFailure else { return false }
      return failure.exitStatus == .interrupted && failure.message.contains("nothing was changed")
    }
    #expect(!operation.answer(true))
  }

  @Test("waits for words on the terminal, or for its end, and no longer than it may")
  func input() throws {
    var ends: [Int32] = [-1, -1]
    let made = pipe(&ends)
    try #require(made == 0)
    #expect(!Terminal.hasInput(ends[0], within: 0))
    close(ends[1])
    #expect(Terminal.hasInput(ends[0], within: 600))
    close(ends[0])
  }
}

/// Reads what comes until it is enough, or nobody can write any more.
private func read(_ handle: FileHandle, until enough: (String) -> Bool) -> String {
  var text = ""
  while !enough(text) {
    let more = handle.availableData
    if more.isEmpty { break }
    text += String(decoding: more, as: UTF8.self)
  }
  return text
}
