import Checkpoint
import ControlAPI
import Dispatch
import Logging
import ServiceLifecycle
import Signals
import UnixSignals

/// The parts of the service, and in which order they begin and end.
struct Daemon: Sendable {
  let service: any ControlService
  let store: String
  let configuration: CurrentConfiguration
  let socket: ListeningSocket
  var manager = Manager(address: nil)
  var admission = Admission.standard
  /// What Prometheus reads; called on any thread, may block it.
  var metrics: @Sendable () throws -> String = { "" }
  /// Called when an operation has ended: what was known of the store may be true no more.
  var whenChanged: @Sendable () -> Void = {}
  /// Looks after the pools; nil for a store that can have none.
  var pools: PoolService?
  /// What was told while it recovered.
  var early = EarlySignals { false }
  let logger: Logger

  /// Recovers, then serves. The group runs until it is told to end.
  func makeGroup(signals: [UnixSignal]) async -> ServiceGroup {
    await Startup(service: service, logger: logger).recover()
    let operations = Operations(service, logger: logger, whenEnded: whenChanged)
    let schedules = ScheduleService(
      operations, store: store, takesAtOnce: { [configuration] in configuration.value.takesAtOnce }, logger: logger)
    let routes = ControlRoutes(
      operations: operations, configuration: configuration, store: store, admission: admission,
      metrics: { [metrics] in
        let (text, families) = (try await Self.onAThread(metrics), await schedules.families())
        return text + PrometheusText.render(families)
      }, scheduleProblem: { schedules.problem }, reloadSchedules: schedules.reload)
    let server = ControlServer(
      socket: socket, responder: routes.responder(), logger: logger,
      whenReady: {
        logger.notice("ready on \(socket.path), store \(store)")
        manager.ready()
      })
    let watchdog = Watchdog(manager: manager, socket: socket.path, logger: logger)
    // They end in the other order: pools are left alone, nothing new is begun, and scheduled work ends, then all other, while clients
    // still hear of it, the server then, the watchdog last.
    var services: [any Service] = [
      watchdog, server, HangupService(configuration: configuration, schedules: schedules),
      Farewell(manager: manager), operations, schedules,
    ]
    if let pools { services.append(pools) }
    return ServiceGroup(
      configuration: .init(
        services: [.init(service: early, successTerminationBehavior: .gracefullyShutdownGroup)]
          + services.map { .init(service: $0) },
        gracefulShutdownSignals: signals, logger: logger))
  }

  /// Reading the store and asking pools would hold a thread that answers clients.
  private static func onAThread<Value: Sendable>(_ work: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await withCheckedThrowingContinuation { done in
      DispatchQueue(label: "metrics").async { done.resume(with: Result { try work() }) }
    }
  }
}

/// Tells systemd that we end.
private struct Farewell: Service {
  let manager: Manager

  func run() async throws {
    try await gracefulShutdown()
    manager.stopping()
  }
}
