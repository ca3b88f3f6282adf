import Checkpoint
import ControlAPI
import EpochStore
import Foundation
import Scheduling
import ServiceLifecycle
import Synchronization
import Testing

@testable import ckpt
@testable import ckptd

@Suite("The daemon's schedules", .timeLimit(.minutes(1)))
struct ScheduleTests {
  private let store: TemporaryFolder
  private let log = LogBook()
  private var keep = RetentionPolicy()

  init() throws {
    store = try TemporaryFolder()
    keep.last = 3
  }

  /// Schedules whose first run is at once, and the next an hour later.
  private func schedule(_ guests: String..., keep: RetentionPolicy = RetentionPolicy()) throws {
    try ScheduleFile(store: store.path).edit { schedules in
      schedules = try guests.map {
        try Schedule(guest: $0, timing: .every(Interval(seconds: 3600)), keep: keep, since: .now)
      }
    }
  }

  private func record(_ guest: String) throws -> RunRecord {
    try existing(RunFile(store: store.path).read().first { $0.guest == guest })
  }

  @Test("give each take their policy for making room, where they have one")
  func policy() async throws {
    try schedule("web", keep: keep)
    let asked = Mutex<[TakeRequest]>([])
    let service = ScriptedService { request, _ in asked.withLock { $0.append(request) } }
    try await withDaemon(service, store: store) { _, _ in try await until { !asked.withLock { $0 }.isEmpty } }
    #expect(asked.withLock { $0 }.map(\.keep) == [keep])
    try schedule("db")
    try await withDaemon(service, store: store) { _, _ in try await until { asked.withLock { $0 }.count == 2 } }
    #expect(asked.withLock { $0 }.map(\.keep) == [keep, nil])
  }

  @Test("end with the daemon: what is past its pause is noted as it comes out, all else is made up by the next daemon")
  func ending() async throws {
    try schedule("early", "late", keep: keep)
    let (early, late) = (Gate(), Gate())
    let service = ScriptedService { request, call in
      if request.guest == "late" { return late.pass() }
      early.pass()
      while !call.cancellation.isCancelled { usleep(1000) }
      throw CheckpointError.interrupted
    }
    try await withDaemon(service, log: log, store: store) { _, group in
      await late.awaitReached()
      await early.awaitReached()
      early.open()
      await group.triggerGracefulShutdown()
      try await until { [log] in log.all.contains { $0.contains("take of early (schedule): ") } }
      late.open()
    }
    let (kept, lost) = (try record("late"), try record("early"))
    #expect(kept.lastEpoch == 7 && kept.lastSuccess != nil && kept.problem == nil && kept.failed == 0)
    #expect(kept.pruneProblem?.contains("the next take prunes") == true)
    #expect(lost.lastEpoch == nil && lost.lastSlot == nil && lost.failed == 1 && !lost.isUnfinished)
    #expect(service.pruned.withLock { $0 }.isEmpty)

    let again = Mutex<[String]>([])
    let next = ScriptedService { request, _ in again.withLock { $0.append(request.guest) } }
    // By uuid, for another guest may be called so.
    let pruned = [ScriptedService.manifest("early").uuid]
    try await withDaemon(next, store: store) { _, _ in try await until { next.pruned.withLock { $0 } == pruned } }
    #expect(again.withLock { $0 } == ["early"] && next.pruned.withLock { $0 } == pruned)
    #expect(try record("early").lastEpoch == 7 && record("early").runs == 2 && record("late").runs == 1)
  }

  @Test("fail when somebody gives their take up: that is not made up")
  func givenUp() async throws {
    try schedule("web")
    let service = ScriptedService { _, call in
      while !call.cancellation.isCancelled { usleep(1000) }
      throw CheckpointError.interrupted
    }
    try await withDaemon(service, store: store) { client, _ in
      @Sendable func running() -> [OperationStatus] { (try? client.status().operations) ?? [] }
      try await until { !running().isEmpty }
      _ = try await blocking { try DaemonConnection(client.socket).ask("DELETE", ControlPath.operation("1")).status }
      try await until { [store] in (try? RunFile(store: store.path).read())?.first?.failed == 1 }
    }
    #expect(try record("web").lastSlot != nil)
  }

  @Test("take as many guests at a time as the configuration says that was read last")
  func reload() async throws {
    try schedule("a", "b")
    let gate = Gate()
    let begun = Mutex(0)
    let service = ScriptedService { _, _ in
      begun.withLock { $0 += 1 }
      gate.pass()
    }
    try await withDaemon(service, config: "takes-at-once = 1\n", store: store) { client, _ in
      await gate.awaitReached()
      let path = try #require(try await blocking { try client.status().config })
      try "takes-at-once = 2\n".write(toFile: path, atomically: false, encoding: .utf8)
      #expect(begun.withLock { $0 } == 1)
      _ = try await blocking { try client.reload() }
      await gate.awaitReached()
      gate.open()
    }
    #expect(begun.withLock { $0 } == 2)
  }

  @Test("with a fault are told of in the log, in the status and to Prometheus, and run as far as they can be read")
  func faulty() async throws {
    try schedule("db", "web")
    let path = ScheduleFile(store: store.path).path
    let mended = try String(contentsOfFile: path, encoding: .utf8)
    let faulty = mended.replacing(#""every" : "1h""#, with: #""evry" : "1h""#, maxReplacements: 1)
    try faulty.write(toFile: path, atomically: true, encoding: .utf8)
    let taken = Mutex<[String]>([])
    let service = ScriptedService { request, _ in taken.withLock { $0.append(request.guest) } }
    try await withDaemon(service, log: log, config: "max-pause = 3\n", store: store) { client, _ in
      try await until { taken.withLock { $0 } == ["web"] }
      let problem = try #require(try await blocking { try client.status().scheduleProblem })
      #expect(problem.contains("schedules[0]: unknown key 'evry'") && problem.hasSuffix("only those of web run"))
      #expect(log.all.contains("error: schedules: \(problem)"))
      let text = try await scrape(client.socket)
      #expect(text.contains("\nckpt_schedules_faulty 1\n"))
      #expect(text.contains(#"ckpt_schedule_next_timestamp_seconds{guest="web"} "#))
      try mended.write(toFile: path, atomically: true, encoding: .utf8)
      // As `ckpt schedule` does; a configuration that somebody is writing is not its business.
      let config = try #require(try await blocking { try client.status().config })
      try "speed = 9\n".write(toFile: config, atomically: false, encoding: .utf8)
      _ = try await blocking { try client.reloadSchedules(patience: 60) }
      try await until { taken.withLock { $0 } == ["web", "db"] }
      #expect(!log.all.contains { $0.contains("speed") })
      let after = try await blocking { try client.status().scheduleProblem }
      #expect(after == nil)
      let sound = try await scrape(client.socket)
      #expect(sound.contains("\nckpt_schedules_faulty 0\n"))
    }
  }

  private func scrape(_ socket: String) async throws -> String {
    let connection = try RawConnection(socket)
    connection.get("/metrics")
    return try await blocking { connection.read() }
  }

  @Test("are run by one daemon of a store; another one says that it does not")
  func twoDaemons() async throws {
    try schedule("web")
    let gate = Gate()
    let other = Mutex(0)
    let words = "schedules: none is run here: process \(getpid()) runs those of this store"
    try await withDaemon(ScriptedService { _, _ in gate.pass() }, store: store) { _, _ in
      await gate.awaitReached()
      try await withDaemon(ScriptedService { _, _ in other.withLock { $0 += 1 } }, log: log, store: store) { _, _ in
        try await until { [log] in log.all.contains { $0.contains(words) } }
      }
      gate.open()
    }
    #expect(other.withLock { $0 } == 0)
    #expect(try record("web").failed == 0 && record("web").runs == 1)
  }
}
