import Checkpoint
import ControlAPI
import Foundation
import Logging
import ServiceLifecycle
import Synchronization

@testable import ckpt
@testable import ckptd

/// A folder of its own that goes away with the test.
final class TemporaryFolder: Sendable {
  let path = FileManager.default.temporaryDirectory.path + "/ckptd-\(UInt64.random(in: 0...UInt64.max))"
  init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false) }
  deinit { try? FileManager.default.removeItem(atPath: path) }
}

/// Keeps what was logged.
final class LogBook: Sendable {
  let lines = Mutex<[String]>([])
  var all: [String] { lines.withLock { $0 } }
  var logger: Logger { Logger(label: "test", factory: { _ in Handler(book: self) }) }

  struct Handler: LogHandler {
    let book: LogBook
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.info
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }
    func log(event: LogEvent) { book.lines.withLock { $0.append("\(event.level): \(event.message)") } }
  }
}

/// Runs a daemon on a socket of its own for the time of `body`, then ends it in order.
///
/// - Parameter store: its store; one that goes away with it when left out.
func withDaemon<Result>(
  _ service: ScriptedService, log: LogBook = LogBook(), admission: Admission = .standard,
  manager: Manager = Manager(address: nil), config: String? = nil, store: TemporaryFolder? = nil,
  _ body: (_ client: DaemonClient, _ group: ServiceGroup) async throws -> Result
) async throws -> Result {
  let folder = try TemporaryFolder()
  let path = folder.path + "/s"
  if let config { try config.write(toFile: folder.path + "/conf", atomically: false, encoding: .utf8) }
  let daemon = Daemon(
    service: service, store: (store ?? folder).path,
    configuration: try CurrentConfiguration(path: config.map { _ in folder.path + "/conf" }, logger: log.logger),
    socket: try ListeningSocket.bound(to: path, logger: log.logger), manager: manager,
    admission: admission, logger: log.logger)
  let group = await daemon.makeGroup(signals: [])
  return try await withThrowingTaskGroup(of: Void.self) { tasks in
    tasks.addTask { try await group.run() }
    let result: Result
    do { result = try await body(DaemonClient(socket: path, expects: Expectation()), group) } catch {
      await group.triggerGracefulShutdown()
      throw error
    }
    await group.triggerGracefulShutdown()
    try await tasks.waitForAll()
    withExtendedLifetime(folder) {}
    return result
  }
}

/// The client's calls block, which no thread of Swift's may.
func blocking<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
  try await withCheckedThrowingContinuation { done in
    Thread.detachNewThread { done.resume(with: Swift.Result { try body() }) }
  }
}

/// Sends bytes and reads what comes until the other side ends, or `enough` is true of it.
final class RawConnection: Sendable {
  let descriptor: Int32

  init(_ path: String) throws {
    descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    var address = try existing(UnixAddress(path))
    guard address.withSockaddr({ connect(descriptor, $0, $1) }) == 0 else { throw POSIXError(.ECONNREFUSED) }
  }

  /// Sends on a thread of its own: a daemon that refuses a request need not read it to its end.
  func post(_ path: String, _ body: String) {
    let text = "POST \(path) HTTP/1.1\r\nHost: x\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
    let bytes = Array(text.utf8)
    Thread.detachNewThread { [self] in _ = send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) }
  }

  func get(_ path: String) {
    let bytes = Array("GET \(path) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".utf8)
    _ = send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
  }

  func read(until enough: (String) -> Bool = { _ in false }) -> String {
    var text = ""
    var buffer = [UInt8](repeating: 0, count: 4096)
    while !enough(text) {
      let count = recv(descriptor, &buffer, buffer.count, 0)
      guard count > 0 else { break }
      text += String(decoding: buffer[..<count], as: UTF8.self)
    }
    return text
  }

  func close() { shutdown(descriptor, Int32(SHUT_RDWR)) }
  deinit { Glibc.close(descriptor) }
}

private struct Missing: Error {}
func existing<Value>(_ value: Value?) throws -> Value {
  guard let value else { throw Missing() }
  return value
}
