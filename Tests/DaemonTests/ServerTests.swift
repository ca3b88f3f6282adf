import Checkpoint
import ControlAPI
import EpochStore
import Foundation
import Synchronization
import Testing

@testable import ckpt
@testable import ckptd

@Suite("The daemon")
struct ServerTests {
  @Test("tells a take's phases as they come, then the epoch")
  func streams() async throws {
    let gate = Gate()
    let service = ScriptedService { _, call in
      call.report(.phase("probe"))
      call.report(.round(TakeStatistics.Round(name: "1", pages: 9)))
      gate.pass()
    }
    try await withDaemon(service) { client, _ in
      let connection = try RawConnection(client.socket)
      connection.post("/v1/take", #"{"guest": "web"}"#)
      // What is told before the gate has come before it is opened.
      let early = try await blocking { connection.read { $0.contains(#""event":"round""#) } }
      #expect(early.contains(#"{"event":"started","operation":"1"}"#) && early.contains(#""phase":"probe""#))
      #expect(!early.contains(#""event":"result""#))
      gate.open()
      let rest = try await blocking { connection.read() }
      #expect(rest.contains(#""event":"result""#) && rest.contains(#""pause_ms":12.5"#))
      let manifest = try await blocking { try client.take(TakeRequest(guest: "db"), Call()) }
      #expect(manifest == ScriptedService.manifest("db"))
    }
  }

  @Test("tells an error with its message and its status, however it is asked")
  func errors() async throws {
    let service = ScriptedService { _, _ in throw CheckpointError.beingSaved(guest: "web") }
    try await withDaemon(service) { client, _ in
      let failures = try await blocking {
        func failure(_ body: () throws -> Void) -> ControlFailure? {
          do { try body() } catch { return error as? ControlFailure }
          return nil
        }
        return (
          failure { _ = try client.take(TakeRequest(guest: "web"), Call()) },
          failure { _ = try client.mark(MarkRequest(guest: "web", epoch: 9), Call()) },
          failure { _ = try client.take(TakeRequest(guest: "web", limitRate: 0), Call()) },
          failure { _ = try client.undo(UndoRequest(guest: "web"), Call()) },
          failure { _ = try client.remove(RemoveRequest(guest: "web", epochs: [.latest]), Call()) }
        )
      }
      #expect(failures.0?.exitStatus == .locked && failures.0?.message == "\(CheckpointError.beingSaved(guest: "web"))")
      #expect(failures.1?.exitStatus == .notFound && failures.1?.message == "guest 'web' has no epoch 9; it has 1")
      #expect(failures.2?.exitStatus == .badConfiguration)
      #expect(failures.3?.exitStatus == .notFound && failures.3?.message.contains("nothing to undo") == true)
      #expect(failures.4?.exitStatus == .badConfiguration && failures.4?.message.contains("pinned") == true)
    }
  }

  @Test(
    "answers what is no request of its API with the reason",
    arguments: [
      ("/v1/nonsense", "{}", "404", "no such path: /v1/nonsense"),
      ("/v1/take", "{}", "400", "'guest' is missing"), ("/v1/take", "nonsense", "400", "no JSON object"),
      ("/v1/mark", #"{"guest":"web","epoch":2}"#, "404", "has no epoch 2"),
      ("/v1/operations/5/answer", #"{"yes":true}"#, "404", "no operation 5 is running"),
      ("/v1/take", "large", "413", "the request is larger than 256 KiB"),
    ])
  func badRequests(path: String, body: String, status: String, words: String) async throws {
    try await withDaemon(ScriptedService()) { client, _ in
      let connection = try RawConnection(client.socket)
      connection.post(path, body == "large" ? String(repeating: " ", count: 300 << 10) : body)
      let answer = try await blocking { connection.read { $0.contains("}}") } }
      connection.close()
      #expect(answer.hasPrefix("HTTP/1.1 \(status)") && answer.contains(words) && answer.contains(#""error":{"#))
    }
  }

  @Test("takes several guests side by side, lists what it does, and gives up what it is told to")
  func operations() async throws {
    let service = ScriptedService { _, call in
      call.report(.phase("precopy"))
      while !call.cancellation.isCancelled { usleep(1000) }
      throw CheckpointError.interrupted
    }
    try await withDaemon(service) { client, _ in
      let takes = ["web", "db"].map { guest in
        Task { try await blocking { try client.take(TakeRequest(guest: guest), Call()) } }
      }
      @Sendable func running() -> [OperationStatus] { (try? client.status().operations) ?? [] }
      try await until { running().filter { $0.phase == "precopy" }.count == 2 }
      let operations = try await blocking { running() }
      #expect(Set(operations.map(\.guest)) == ["web", "db"] && operations.allSatisfy { $0.kind == "take" })
      #expect(operations.allSatisfy { $0.by == "uid \(getuid())" })
      for operation in operations {
        _ = try await blocking {
          try DaemonConnection(client.socket).ask("DELETE", ControlPath.operation(operation.id)).status
        }
      }
      for take in takes {
        let failure = await #expect(throws: ControlFailure.self) { try await take.value }
        #expect(failure?.exitStatus == .interrupted)
      }
      #expect(try await blocking { running() }.isEmpty)
    }
  }

  @Test("goes on with a take whose client went away, unless that asked it not to", arguments: [false, true])
  func disconnect(cancels: Bool) async throws {
    let log = LogBook()
    let gate = Gate()
    let service = ScriptedService { _, call in
      gate.pass()
      while cancels, !call.cancellation.isCancelled { usleep(1000) }
      if call.cancellation.isCancelled { throw CheckpointError.interrupted }
    }
    try await withDaemon(service, log: log) { client, _ in
      do {
        let connection = try RawConnection(client.socket)
        connection.post("/v1/take", #"{"guest": "web", "cancel_on_disconnect": \#(cancels)}"#)
        await gate.awaitReached()
        connection.close()
      }
      gate.open()
      try await until { log.all.contains { $0.contains("take of web") } }
      let line = try #require(log.all.first { $0.contains("take of web") })
      #expect(line.contains(cancels ? "interrupted" : "epoch 7"))
    }
  }

  @Test("asks before it destroys, and waits for the answer", arguments: [true, false])
  func confirm(yes: Bool) async throws {
    let service = ScriptedService()
    try await withDaemon(service) { client, _ in
      let outcome = await Result.of {
        try await blocking {
          try client.restore(
            RestoreRequest(guest: "web", epoch: 3),
            Call(confirm: { question in
              guard yes, question.domain == 5 else { throw UsageRefused(description: "no") }
            }))
        }
      }
      if yes {
        #expect((try? outcome.get())?.domain == 6)
      } else {
        #expect(throws: UsageRefused.self) { try outcome.get() }
      }
    }
    #expect(service.restored.withLock { $0 } == (yes ? ["destroy"] : []))
  }

  @Test("does not destroy for somebody who left without an answer")
  func nobodyAnswers() async throws {
    let service = ScriptedService()
    let log = LogBook()
    try await withDaemon(service, log: log) { client, _ in
      let connection = try RawConnection(client.socket)
      connection.post("/v1/restore", #"{"guest": "web", "epoch": 3}"#)
      _ = try await blocking { connection.read { $0.contains("confirm") } }
      connection.close()
      try await until { log.all.contains { $0.contains("restore of web") && $0.contains("interrupted") } }
    }
    #expect(service.restored.withLock { $0 }.isEmpty)
  }

  @Test("lets nobody in but root, its own user and members of the group")
  func admission() async throws {
    let admission = Admission(group: 77, user: 1000)
    #expect(admission.admits(Peer(uid: 0, groups: [5])) && admission.admits(Peer(uid: 1000, groups: [5])))
    #expect(admission.admits(Peer(uid: 8, groups: [5, 77])) && !admission.admits(Peer(uid: 8, groups: [5])))
    #expect(!Admission(group: nil, user: 0).admits(Peer(uid: 8, groups: [0])))
    guard getuid() != 0 else { return }
    try await withDaemon(ScriptedService(), admission: Admission(group: nil, user: 4_000_000)) { client, _ in
      let failure = await #expect(throws: ControlFailure.self) { try await blocking { try client.status() } }
      #expect(failure?.message.contains("may not use ckptd") == true)
    }
  }

  @Test("tells a client who takes another store or configuration for granted")
  func expectations() async throws {
    try await withDaemon(ScriptedService()) { client, _ in
      for expects in [Expectation(store: "/nowhere"), Expectation(config: "/etc/passwd")] {
        let stranger = DaemonClient(socket: client.socket, expects: expects)
        let failure = await #expect(throws: ControlFailure.self) {
          try await blocking { try stranger.take(TakeRequest(guest: "web"), Call()) }
        }
        #expect(failure?.exitStatus == .badConfiguration && failure?.message.contains("CKPT_SOCKET= ckpt") == true)
      }
      let store = try await blocking { try client.status().store }
      // The same folder by another name.
      let friend = DaemonClient(socket: client.socket, expects: Expectation(store: store + "/."))
      _ = try await blocking { try friend.take(TakeRequest(guest: "web"), Call()) }
    }
  }
}

extension Result where Failure == any Error {
  static func of(_ body: () async throws -> Success) async -> Self {
    do { return .success(try await body()) } catch { return .failure(error) }
  }
}
