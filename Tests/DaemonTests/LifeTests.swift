import Checkpoint
import ControlAPI
import EpochStore
import Foundation
import ServiceLifecycle
import Synchronization
import Testing
import Xen

@testable import ckpt
@testable import ckptd

@Suite("The daemon's life")
struct LifeTests {
  private let log = LogBook()

  @Test("begins with what a dead one left, and says what it did")
  func recovery() async throws {
    let service = ScriptedService(recovery: { _ in
      RecoverAnswer(
        devices: ["ckpt-web-xvda"], guests: [.init(guest: "web", domain: 5, outcome: .resumed)], logs: [],
        swept: ["web: 00000003.epoch.partial was never published, it is removed"], failures: ["db: EIO"],
        unfinished: ["the restore of web to epoch 2 did not end: ckpt restore web 2"])
    })
    try await withDaemon(service, log: log) { _, _ in }
    let ready = try #require(log.all.firstIndex { $0.contains("ready on") })
    let words = [
      "recovered: ckpt-web-xvda: was suspended, runs again", "recovered: web (domain 5): was suspended, runs again",
      "recovered: web: 00000003", "error: not recovered: db: EIO", "error: the restore of web to epoch 2 did not end",
    ]
    for words in words { #expect(try #require(log.all.firstIndex { $0.contains(words) }) < ready) }
  }

  @Test(
    "without Xen, or xenstored, it says what cannot be done, settles the store, and does the rest",
    arguments: [
      (XenError.noXen, "no Xen here"), (.unreachable(service: "xenstore", errno: ENOENT), "cannot reach xenstore"),
    ])
  func noXen(error: XenError, words: String) async throws {
    let service = ScriptedService(recovery: { request in
      guard request.storeOnly == true else { throw error }
      return RecoverAnswer(devices: [], guests: [], logs: [], swept: ["pool p: settled"], failures: [])
    })
    try await withDaemon(service, log: log) { client, _ in
      let marks = try await blocking { try client.mark(MarkRequest(guest: "web", epoch: 1, pin: true), Call()) }
      #expect(marks.pinned)
    }
    #expect(log.all.filter { $0.contains(words) }.count == 1)
    #expect(log.all.contains("notice: recovered: pool p: settled"))
  }

  @Test("notices that guests end as soon as Xen comes, and again when xenstored does, and says each once")
  func domains() {
    let absent = XenError.unreachable(service: "xenstore", errno: ECONNREFUSED)
    // nil: it watches until xenstored ends.
    var attempts: [XenError?] = [.noXen, absent, nil, absent, nil]
    DomainKeeper.keep(
      log.logger,
      watch: { begun in
        if let error = attempts.removeFirst() { throw error }
        begun()
      }, pause: { !attempts.isEmpty })
    let levels = log.all.map { line in String(line.prefix { $0 != ":" }) }
    #expect(levels == ["warning", "notice", "warning", "notice", "warning"])
    #expect(log.all[0].contains("no Xen here") && log.all[2].contains("xenstored does not answer"))
  }

  @Test("says what is wrong with its store", .enabled(if: !FileManager.default.fileExists(atPath: "/dev/xen/privcmd")))
  func store() throws {
    #expect(
      Startup.problems(Engine(storePath: "/nowhere/store")) == [
        "no store at /nowhere/store yet; the first take makes it"
      ])
    let folder = try TemporaryFolder()
    #expect(Startup.problems(Engine(storePath: folder.path)).isEmpty)
    // Nobody, not even root, can write there.
    let readOnly = Startup.problems(Engine(storePath: "/proc/sys"))
    #expect(readOnly.count <= 1 && readOnly.allSatisfy { $0.contains("cannot be written") })
  }

  @Test("ends in order: takes past their pause are finished, others given up, new ones refused")
  func shutdown() async throws {
    let (early, late) = (Gate(), Gate())
    let service = ScriptedService { request, call in
      if request.guest == "late" {
        late.pass()
        // As the engine does after the pause has begun: this wish does not reach it.
        return
      }
      early.pass()
      while !call.cancellation.isCancelled { usleep(1000) }
      throw CheckpointError.interrupted
    }
    let (web, db, third) = try await withDaemon(service, log: log) { client, group in
      async let web = Result.of { try await blocking { try client.take(TakeRequest(guest: "late"), Call()) } }
      async let db = Result.of { try await blocking { try client.take(TakeRequest(guest: "early"), Call()) } }
      await late.awaitReached()
      await early.awaitReached()
      early.open()
      await group.triggerGracefulShutdown()
      // The early one has been given up: the end has begun. The socket still answers, and takes nobody new.
      let given = await db
      let third = await Result.of { try await blocking { try client.take(TakeRequest(guest: "new"), Call()) } }
      late.open()
      return (await web, given, third)
    }
    #expect(try web.get().epoch == 7)
    #expect(throws: ControlFailure(CheckpointError.interrupted)) { try db.get() }
    #expect { try third.get() } throws: { "\($0)".contains("ckptd is ending") }
  }

  @Test("tells systemd that it is ready, alive and ending, each when it is true")
  func notifies() async throws {
    let manager = try FakeManager()
    try await withDaemon(ScriptedService(), manager: manager.interface(watchdog: .milliseconds(40))) { _, _ in
      let words = try await blocking { (0..<3).map { _ in manager.receive() } }
      #expect(words == ["READY=1", "WATCHDOG=1", "WATCHDOG=1"])
    }
    var last = ""
    while let next = manager.receive(waiting: false) { if next != "WATCHDOG=1" { last = next } }
    #expect(last == "STOPPING=1")
  }

  @Test("does not say that it is alive when it does not answer")
  func hangs() throws {
    let folder = try TemporaryFolder()
    let silent = try ListeningSocket.bound(to: folder.path + "/s", logger: log.logger)
    close(silent.descriptor)
    #expect(!Watchdog.ask(folder.path + "/s"))
    #expect(!Watchdog.ask(folder.path + "/nothing"))
  }

  @Test("asks itself again a second after an answer that did not come, not after half of what systemd allows")
  func missedAnswer() async throws {
    let manager = try FakeManager()
    let answers = Mutex([true, false, false, true])
    let pauses = Mutex<[Duration]>([])
    let watchdog = Watchdog(
      manager: manager.interface(watchdog: .seconds(30)), socket: "/s", logger: log.logger,
      check: { _ in answers.withLock { $0.removeFirst() } },
      sleep: { pause in
        pauses.withLock { $0.append(pause) }
        if answers.withLock({ $0.isEmpty }) { throw CancellationError() }
      })
    try await watchdog.run()
    #expect(pauses.withLock { $0 } == [15, 15, 1, 1, 15].map { Duration.seconds($0) })
    #expect(manager.receive() == "WATCHDOG=1" && manager.receive() == "WATCHDOG=1")
    #expect(manager.receive(waiting: false) == nil)
  }

  @Test("that is told to end while it recovers ends when that is done", .timeLimit(.minutes(1)))
  func toldEarly() async throws {
    let folder = try TemporaryFolder()
    let isTold = Mutex(false)
    let service = ScriptedService(recovery: { _ in
      isTold.withLock { $0 = true }
      return RecoverAnswer(devices: [], guests: [], logs: [], swept: [], failures: [])
    })
    let daemon = Daemon(
      service: service, store: folder.path, configuration: try CurrentConfiguration(path: nil, logger: log.logger),
      socket: try ListeningSocket.bound(to: folder.path + "/s", logger: log.logger),
      early: EarlySignals { isTold.withLock(\.self) }, logger: log.logger)
    try await daemon.makeGroup(signals: []).run()
    #expect(log.all.contains { $0.contains("nothing to recover") })
  }

  @Test("takes a good configuration over and keeps the old one when the new one is bad")
  func reload() async throws {
    try await withDaemon(ScriptedService(), log: log, config: "max-pause = 3\n") { client, _ in
      let path = try #require(try await blocking { try client.status().config })
      try "max-pause = 4\nspeed = 9\nstaging = 1\n".write(toFile: path, atomically: false, encoding: .utf8)
      let bad = try await blocking { try client.reload() }
      #expect(bad.faults.count == 2 && bad.faults[0].contains(":2: unknown key 'speed'"))
      #expect(log.all.contains { $0.contains("the old one stays") })
      try "max-pause = 4\n".write(toFile: path, atomically: false, encoding: .utf8)
      let good = try await blocking { try client.reload() }
      #expect(good.faults.isEmpty)
    }
    let folder = try TemporaryFolder()
    try "tracking = often\nfoo\n".write(toFile: folder.path + "/c", atomically: false, encoding: .utf8)
    #expect { try CurrentConfiguration(path: folder.path + "/c", logger: log.logger) } throws: {
      ($0 as? BadConfiguration)?.faults.count == 2
    }
  }

  @Test("begins though a program of the configuration is missing, and says so; taking that over is refused")
  func missingProgram() async throws {
    try await withDaemon(ScriptedService(), log: log, config: "hook-before = /nowhere/x\n") { client, _ in
      let words = ":1: hook-before: /nowhere/x cannot be a hook: No such file or directory"
      #expect(log.all.contains { $0.hasPrefix("warning: ") && $0.contains(words) })
      let reload = try await blocking { try client.reload() }
      #expect(reload.faults.count == 1 && reload.faults[0].hasSuffix(words))
    }
  }
}

/// The socket on which systemd would listen.
final class FakeManager: Sendable {
  private let folder: TemporaryFolder
  private let descriptor: Int32

  init() throws {
    folder = try TemporaryFolder()
    descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
    var address = try existing(UnixAddress(folder.path + "/notify"))
    guard address.withSockaddr({ bind(descriptor, $0, $1) }) == 0 else { throw POSIXError(.EADDRINUSE) }
  }
  deinit { close(descriptor) }

  var path: String { folder.path + "/notify" }
  func interface(watchdog: Duration?) -> Manager { Manager(address: path, watchdog: watchdog) }

  func receive(waiting: Bool = true) -> String? {
    var buffer = [UInt8](repeating: 0, count: 256)
    let count = recv(descriptor, &buffer, buffer.count, waiting ? 0 : Int32(MSG_DONTWAIT))
    return count > 0 ? String(decoding: buffer[..<count], as: UTF8.self) : nil
  }
}
