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
}
