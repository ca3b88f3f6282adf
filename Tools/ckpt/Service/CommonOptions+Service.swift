import Checkpoint
import ControlAPI
import Glibc
import Scheduling

extension CommonOptions {
  var storePath: String { store ?? environment("CKPT_STORE") ?? Engine.defaultStore }
  var engine: Engine { Engine(storePath: storePath) }

  /// The daemon where there is its socket, else the engine in this process.
  ///
  /// - Parameters:
  ///   - config: a configuration file that was named.
  ///   - cancellation: of the take that is about to be asked for.
  func service(config: String? = nil, cancellation: TakeCancellation? = nil) throws -> any ControlService {
    if let socket = DaemonSocket.path { return client(socket, config: config) }
    let configuration = try Self.configuration(config)
    if let cancellation { Interrupts.cancel(cancellation) }
    let schedules = ScheduleFile(store: storePath)
    return EngineService(
      engine, configuration: { configuration }, scheduled: { Set(try schedules.read().map(\.guest)) })
  }

  /// For what works on the store alone: the daemon when it answers, and when no store was named.
  func offlineService() -> any ControlService {
    guard let socket = DaemonSocket.path, store == nil, environment("CKPT_STORE") == nil else {
      return EngineService(engine)
    }
    return Self.service(client(socket, config: nil), orElse: engine, patience: DaemonSocket.patience)
  }

  /// For what must work whatever the configuration is, which may be why no daemon answers.
  func recoveryService() -> any ControlService {
    guard let socket = DaemonSocket.path else { return EngineService(engine) }
    return Self.service(client(socket, config: nil), orElse: engine, patience: DaemonSocket.patience)
  }

  /// The daemon where it answers, else the engine in this process.
  ///
  /// - Parameter patience: seconds to wait for the daemon.
  static func service(_ client: DaemonClient, orElse engine: Engine, patience: Double) -> any ControlService {
    do {
      _ = try client.status(patience: patience)
      return client
    } catch {
      if case DaemonError.silent = error { Terminal.error("ckpt: note: \(error); this is done without it") }
      return EngineService(engine)
    }
  }

  func client(_ socket: String, config: String?) -> DaemonClient {
    DaemonClient(
      socket: socket,
      expects: Expectation(
        store: (store ?? environment("CKPT_STORE")).map(absolute),
        config: (config ?? environment("CKPT_CONFIG")).map(absolute)))
  }

  static func configuration(_ named: String?) throws -> Configuration {
    try configurationPath(named).map { try Configuration(path: $0) } ?? Configuration()
  }

  /// nil when none was named and there is none at the usual place.
  static func configurationPath(_ named: String?) -> String? {
    if let path = named ?? environment("CKPT_CONFIG") { return path }
    return access(Configuration.defaultPath, F_OK) == 0 ? Configuration.defaultPath : nil
  }

  /// The daemon has another working folder.
  private func absolute(_ path: String) -> String {
    if path.hasPrefix("/") { return path }
    var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
    guard getcwd(&buffer, buffer.count) != nil else { return path }
    return buffer.withUnsafeBufferPointer { String(cString: $0.baseAddress!) } + "/" + path
  }
}

/// Where the daemon is to be found.
enum DaemonSocket {
  /// Seconds that one may take to answer what costs it no work.
  static let patience = 5.0

  /// `CKPT_SOCKET`, or the usual place when there is a socket. Nil: work without a daemon, as an empty `CKPT_SOCKET` wants.
  static var path: String? {
    if let named = getenv("CKPT_SOCKET").map({ String(cString: $0) }) { return named.isEmpty ? nil : named }
    return access(ControlPath.defaultSocket, F_OK) == 0 ? ControlPath.defaultSocket : nil
  }
}
