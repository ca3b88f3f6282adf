import ControlAPI
import EpochStore
import Foundation
import Testing

@testable import ckptd

/// The built programs, as they are installed, on a machine without Xen.
@Suite("ckptd and ckpt as processes", .enabled(if: !FileManager.default.fileExists(atPath: "/dev/xen/privcmd")))
struct ProcessTests {
  private let folder: TemporaryFolder
  private var socket: String { folder.path + "/s" }
  private var store: String { folder.path + "/store" }

  init() throws {
    folder = try TemporaryFolder()
    let uuid = "11111111-2222-3333-4444-555555555555"
    let guest = try EpochStore(path: folder.path + "/store").folder(uuid: uuid, create: true)
    for epoch in 1...2 {
      let writer = try guest.create(epoch: epoch, reserving: 0)
      try writer.append(record: 1, [1, 2, 3])
      _ = try writer.publish(
        EpochManifest(guest: "web", uuid: uuid, epoch: epoch, kind: .pvh, vcpus: 1, memoryBytes: 1 << 28))
    }
  }

  // MARK: programs

  private static func program(_ name: String) -> String {
    let bundle = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    return bundle.deletingLastPathComponent().appendingPathComponent(name).path
  }

  private func process(_ name: String, _ arguments: [String], _ environment: [String: String] = [:]) -> Process {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: name.hasPrefix("/") ? name : Self.program(name))
    process.arguments = arguments
    process.environment = ["PATH": "/usr/bin:/bin"].merging(environment) { $1 }
    process.standardInput = FileHandle.nullDevice
    return process
  }

  private func ckpt(
    _ arguments: [String], _ environment: [String: String]? = nil
  ) async throws -> (status: Int32, output: String, errors: String) {
    try await run(process("ckpt", arguments, environment ?? ["CKPT_SOCKET": socket]))
  }

  private func run(_ process: Process) async throws -> (status: Int32, output: String, errors: String) {
    let (output, errors) = (Pipe(), Pipe())
    (process.standardOutput, process.standardError) = (output, errors)
    try process.run()
    let (outputEnd, errorsEnd) = (output.fileHandleForReading, errors.fileHandleForReading)
    return try await blocking {
      let text = String(decoding: outputEnd.readDataToEndOfFile(), as: UTF8.self)
      let complaint = String(decoding: errorsEnd.readDataToEndOfFile(), as: UTF8.self)
      process.waitUntilExit()
      return (process.terminationStatus, text, complaint)
    }
  }

  /// Runs the daemon until `body` has ended, then ends it with SIGTERM.
  private func withDaemon(
    _ process: Process? = nil, _ body: (Process, _ log: () throws -> String) async throws -> Void
  ) async throws -> String {
    let process = process ?? self.process("ckptd", ["--socket", socket, "--store", store])
    let log = folder.path + "/log"
    _ = FileManager.default.createFile(atPath: log, contents: nil)
    process.standardError = try FileHandle(forWritingTo: URL(fileURLWithPath: log))
    try process.run()
    func read() throws -> String { try String(contentsOfFile: log, encoding: .utf8) }
    do {
      while try !read().contains("ready on") {
        guard process.isRunning else { break }
        try await Task.sleep(for: .milliseconds(10))
      }
      try await body(process, read)
    } catch {
      process.terminate()
      throw error
    }
    process.terminate()
    try await blocking { process.waitUntilExit() }
    #expect(process.terminationReason == .exit && process.terminationStatus == 0)
    return try read()
  }

  // MARK: tests

  @Test("A command does through the daemon what it does alone: the same words, JSON and status")
  func sameWords() async throws {
    let copy = folder.path + "/copy"
    try FileManager.default.copyItem(atPath: store, toPath: copy)
    let commands = [
      ["take", "web"], ["take", "web", "--json"], ["restore", "web", "1", "--yes"], ["recover"],
      ["tag", "web", "1", "a"], ["pin", "web", "1", "--json"], ["pin", "web", "9"],
      ["verify"], ["verify", "web", "2", "--full"], ["verify", "web", "9"], ["prune", "db", "--keep-last", "1"],
      ["prune", "web", "--keep-last", "1", "--yes"], ["unpin", "web", "1"],
      ["prune", "--keep-last", "1"], ["prune", "web", "--keep-last", "1", "--dry-run", "--json"],
      ["prune", "--keep-tag", "gold", "--yes"], ["prune", "--keep-last", "1", "--yes"], ["prune", "--yes", "--json"],
    ]
    var through: [String] = []
    _ = try await withDaemon { _, _ in for command in commands { through.append("\(try await ckpt(command))") } }
    for (command, words) in zip(commands, through) {
      #expect("\(try await ckpt(command, ["CKPT_SOCKET": "", "CKPT_STORE": copy]))" == words, "\(command)")
    }
    #expect(through[0].contains("status: 12") && through[0].contains("ckpt: no Xen here"))
    #expect(through[7].contains("2 epochs verified (quick), 2 sound, 0 not"))
    #expect(through[16].contains("web: 1 epoch removed, "))
  }

  @Test("It is known by its store, however that is named")
  func sameStore() async throws {
    let link = folder.path + "/link"
    try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: store)
    _ = try await withDaemon { process, _ in
      for path in [store, store + "/.", link] {
        let status = try await ckpt(["status", "--store", path])
        #expect(status.output.contains("ckptd, process \(process.processIdentifier)"), "\(status)")
        #expect(try await !ckpt(["doctor", "--json", "--store", path]).output.contains("another store"))
      }
      #expect(try await ckpt(["status", "--store", folder.path]).output.contains("no ckptd answers for this store"))
    }
  }

  @Test("Prometheus reads what is in the store and what takes came to; without a store, nothing")
  func metrics() async throws {
    func scrape() async throws -> String {
      let connection = try RawConnection(socket)
      connection.get("/metrics")
      return try await blocking { connection.read() }
    }
    _ = try await withDaemon { _, _ in
      let answer = try await scrape()
      #expect(answer.hasPrefix("HTTP/1.1 200 OK"))
      #expect(answer.lowercased().contains("content-type: text/plain; version=0.0.4"))
      #expect(answer.contains(#"ckpt_epochs{guest="web"} 2"#) && answer.contains("\nckpt_recoverable 0\n"))
    }
    let empty = process("ckptd", ["--socket", socket, "--store", folder.path + "/none"])
    _ = try await withDaemon(empty) { _, _ in
      let answer = try await scrape()
      #expect(answer.hasPrefix("HTTP/1.1 200 OK") && !answer.contains("ckpt_"))
    }
  }

  @Test("A socket without a daemon is one line that says what to do; what works on the store alone still works")
  func nobodyThere() async throws {
    let take = try await ckpt(["take", "web"])
    #expect(take.status == 1 && take.errors.filter { $0 == "\n" }.count == 1)
    #expect(take.errors.contains("systemctl start ckptd") && take.errors.contains("CKPT_SOCKET= ckpt"))
    for verb in ["verify", "list"] {
      let result = try await ckpt([verb, "--store", store])
      #expect(result.status == 0 && result.errors.isEmpty)
    }
    #expect(try await ckpt(["show", "web", "1", "--store", store]).status == 0)
    #expect(try await ckpt(["export", "web", "1", "-", "--store", store]).errors.contains("ckptd") == false)
  }

  @Test("Another daemon on the same socket is refused, and the first one goes on")
  func second() async throws {
    let log = try await withDaemon { _, _ in
      let other = process("ckptd", ["--socket", socket, "--store", store])
      let refused = try await run(other)
      #expect(refused.status == 11 && refused.errors.contains("another ckptd"))
      #expect(refused.errors.filter { $0 == "\n" }.count == 1)
      #expect(try await ckpt(["pin", "web", "1"]).status == 0)
    }
    #expect(log.contains("<4>no Xen here") && log.contains("<5>ended\n"))
    #expect(!FileManager.default.fileExists(atPath: socket))
  }

  @Test("It settles its store, though there is no Xen")
  func settles() async throws {
    let partial = store + "/11111111-2222-3333-4444-555555555555/00000003.epoch.partial"
    try Data([1]).write(to: URL(fileURLWithPath: partial))
    let log = try await withDaemon { _, _ in }
    #expect(log.contains("recovered: web: 00000003.epoch.partial was never published"))
    #expect(!FileManager.default.fileExists(atPath: partial))
  }

  @Test("Bad configuration is told whole, a line each, and the daemon does not start")
  func badConfiguration() async throws {
    let path = folder.path + "/conf"
    try "tracking = often\n\nspeed = 1\n[host]\nmax-pause = 5\n".write(toFile: path, atomically: false, encoding: .utf8)
    let daemon = process("ckptd", ["--socket", socket, "--store", store, "--config", path])
    let refused = try await run(daemon)
    #expect(refused.status == 12)
    let lines = refused.errors.split(separator: "\n")
    #expect(lines.count == 3 && lines.allSatisfy { $0.hasPrefix("<2>\(path):") })
    let check = try await ckpt(["config", "check", path])
    #expect(check.status == 12 && check.output.isEmpty)
    #expect(check.errors.split(separator: "\n").map { $0.dropFirst(6) } == lines.map { $0.dropFirst(3) })
    try "max-pause = 5\n".write(toFile: path, atomically: false, encoding: .utf8)
    let fine = try await ckpt(["config", "check", path, "--json"])
    #expect(fine.status == 0 && fine.output.contains(#""faults" : ["#))
  }

  @Test("SIGHUP reads the configuration anew and keeps the old one when the new one is bad")
  func hangup() async throws {
    let path = folder.path + "/conf"
    try "max-pause = 5\n".write(toFile: path, atomically: false, encoding: .utf8)
    let daemon = process("ckptd", ["--socket", socket, "--store", store, "--config", path])
    _ = try await withDaemon(daemon) { daemon, log in
      kill(daemon.processIdentifier, SIGHUP)
      while try !log().contains("<5>configuration: \(path)") { try await Task.sleep(for: .milliseconds(10)) }
      try "max-pause = much\n".write(toFile: path, atomically: false, encoding: .utf8)
      kill(daemon.processIdentifier, SIGHUP)
      while try !log().contains("the old one stays") { try await Task.sleep(for: .milliseconds(10)) }
      let reload = try await ckpt(["config", "reload"])
      #expect(reload.status == 12 && reload.errors.contains("\(path):1: max-pause = much"))
    }
  }

  @Test("Started by systemd it takes the socket that it is passed, says when it is ready, and leaves the socket alone")
  func activation() async throws {
    let logger = LogBook().logger
    let listening = try ListeningSocket.bound(to: socket, logger: logger)
    let manager = try FakeManager()
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \(Self.program("ckptd")) --store \(store)"
    let daemon = process("/bin/sh", ["-c", script], ["NOTIFY_SOCKET": manager.path])
    daemon.standardInput = FileHandle(fileDescriptor: listening.descriptor)
    // Who connects before it runs waits for it.
    let early = try RawConnection(socket)
    early.post("/v1/mark", #"{"guest": "web", "epoch": 1, "pin": true}"#)
    let log = try await withDaemon(daemon) { _, _ in
      let ready = try await blocking { manager.receive() }
      #expect(ready == "READY=1")
      let answer = try await blocking { early.read { $0.contains("}") } }
      let later = try await ckpt(["unpin", "web", "1"])
      #expect(answer.contains(#""pinned":true"#) && later.status == 0)
    }
    #expect(log.contains("ready on \(socket)"))
    #expect(manager.receive() == "STOPPING=1")
    #expect(FileManager.default.fileExists(atPath: socket))
    close(listening.descriptor)
  }

  @Test("What a killed daemon left is replaced by the next one")
  func killed() async throws {
    let first = process("ckptd", ["--socket", socket, "--store", store])
    first.standardError = FileHandle.nullDevice
    try first.run()
    while !FileManager.default.fileExists(atPath: socket) { try await Task.sleep(for: .milliseconds(10)) }
    kill(first.processIdentifier, SIGKILL)
    try await blocking { first.waitUntilExit() }
    let log = try await withDaemon { _, _ in
      let marked = try await ckpt(["pin", "web", "2"])
      #expect(marked.status == 0)
    }
    #expect(log.contains("was left by a ckptd that is dead; it is replaced"))
  }

  @Test(
    "Who is neither root nor in the group is turned away, even where the socket's mode is not",
    .enabled(if: getuid() == 0))
  func stranger() async throws {
    _ = try await withDaemon { _, _ in
      chmod(socket, 0o666)
      let script =
        "import socket,sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "
        + "s.send(b'GET /v1/status HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n'); "
        + "print(b''.join(iter(lambda: s.recv(4096), b'')).decode())"
      let stranger = try await run(
        process(
          "/usr/bin/setpriv", ["--reuid=65534", "--regid=65534", "--clear-groups", "python3", "-c", script, socket]))
      #expect(
        stranger.output.contains(" 403 ") && stranger.output.contains("user 65534 may not use ckptd"), "\(stranger)")
    }
  }

  @Test("Another store or configuration than the daemon's is refused, not passed over")
  func otherStore() async throws {
    _ = try await withDaemon { _, _ in
      let other = try await ckpt(["take", "web", "--store", folder.path])
      #expect(other.status == 12 && other.errors.contains("ckptd works on the store \(store), not on \(folder.path)"))
      let config = try await ckpt(["take", "web", "--config", "/dev/null"])
      #expect(config.status == 12 && config.errors.contains("not from /dev/null"))
      #expect(try await ckpt(["pin", "web", "1", "--store", store + "/"]).status == 0)
      // A verification needs no daemon.
      #expect(try await ckpt(["verify", "--store", folder.path]).errors.contains("ckptd") == false)
    }
  }
}
