import Checkpoint
import ControlAPI
import Foundation
import Testing

@testable import ckpt
@testable import ckptd

/// A daemon that lives and does not answer, as one that was stopped: the kernel takes connections for it.
@Suite("A daemon that does not answer")
struct SilentDaemonTests {
  private let folder: TemporaryFolder
  private let socket: ListeningSocket

  init() throws {
    folder = try TemporaryFolder()
    socket = try ListeningSocket.bound(to: folder.path + "/s", logger: LogBook().logger)
  }

  private var client: DaemonClient { DaemonClient(socket: socket.path, expects: Expectation()) }

  @Test("is asked for so long and no longer, and it is said in one line")
  func patience() async throws {
    for ask in [{ _ = try $0.status(patience: 0.05) }, { _ = try $0.reload(patience: 0.05) }]
      as [@Sendable (DaemonClient) throws -> Void]
    {
      let client = client
      let error = await #expect(throws: DaemonError.self) { try await blocking { try ask(client) } }
      #expect(error?.description.contains("does not answer on \(socket.path) within 0.05 s; ") == true)
      #expect(error?.exitStatus == .failed && error?.description.contains("\n") == false)
    }
  }

  @Test("keeps nothing away that works without it")
  func offline() async throws {
    let engine = Engine(storePath: folder.path)
    let service = try await blocking { [client] in CommonOptions.service(client, orElse: engine, patience: 0.05) }
    #expect(service is EngineService)
    try await withDaemon(ScriptedService()) { client, _ in
      let service = try await blocking { CommonOptions.service(client, orElse: engine, patience: .infinity) }
      #expect(service is DaemonClient)
    }
  }
}
