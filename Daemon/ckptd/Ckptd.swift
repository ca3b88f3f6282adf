import ArgumentParser
import Checkpoint
import ControlAPI
import EpochStore
import Glibc
import Logging
import Scheduling
import ServiceLifecycle
import Signals
import UnixSignals

@main
struct Ckptd: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ckptd", abstract: "The service behind ckpt: takes and restores epochs of this host's guests.",
    discussion: """
      Started by systemd (ckptd.service, ckptd.socket), or by hand. First ends what killed takes left, then answers on its socket. \
      SIGHUP reads configuration and schedules anew; SIGTERM ends it in order: takes in their pause or past it, restores that have begun \
      to destroy, and recoveries are finished, all else is given up.
      Exit status: 0 ended in order, 1 failed, 11 another ckptd is there, 12 the configuration is bad, 64 wrong usage.
      """)

  @Option(help: "Folder that holds epochs and pools (also CKPT_STORE; default /var/lib/ckpt).") var store: String?
  @Option(help: "Configuration file (also CKPT_CONFIG; default /etc/ckpt/ckpt.conf where it exists).") var config:
    String?
  @Option(help: "Socket to listen on, unless systemd passes one (also CKPT_SOCKET; default /run/ckpt/ckptd.sock).")
  var socket: String?

  func run() async throws {
    // A client that goes away is an error of the write, not the end of the process; so is a file size limit.
    signal(SIGPIPE, SIG_IGN)
    signal(SIGXFSZ, SIG_IGN)
    // Until somebody listens to them.
    signal(SIGHUP, SIG_IGN)
    let early = EarlySignals.held()
    let manager = Manager.fromEnvironment()
    let logger = JournalLog.logger()
    do {
      let configuration = try CurrentConfiguration(path: config ?? environment("CKPT_CONFIG"), logger: logger)
      let path = socket ?? environment("CKPT_SOCKET") ?? ControlPath.defaultSocket
      let listening =
        manager.sockets > 0
        ? try ListeningSocket.passed(manager.sockets) : try ListeningSocket.bound(to: path, logger: logger)
      let store = store ?? environment("CKPT_STORE") ?? Engine.defaultStore
      let schedules = ScheduleFile(store: store)
      let engine = Engine(storePath: store, awaited: AwaitedGuests { schedules.has($0) })
      for problem in Startup.problems(engine) { logger.warning("\(problem)") }
      let memories = ResidentMemories(store: engine.storePath)
      let takes = TakeMetrics()
      // Each look reads all manifests of the store.
      let status = Recent(
        age: .seconds(15), compute: { try Self.families(engine, configuration.value, schedules) })
      let daemon = Daemon(
        service: EngineService(
          engine, memories: memories, observer: Counting(takes: takes), configuration: { configuration.value },
          scheduled: { Set(try schedules.read().map(\.guest)) }),
        store: engine.storePath, configuration: configuration, socket: listening, manager: manager,
        metrics: { PrometheusText.render(takes.families() + (try status.get())) }, whenChanged: { status.drop() },
        pools: PoolService(
          PoolKeeper(engine), first: { engine.endRestoresOfRunning() },
          options: { configuration.value.options(for: "") }, logger: logger),
        early: early, logger: logger)
      DomainKeeper.start(memories, logger: logger)
      try await daemon.makeGroup(signals: [.sigterm, .sigint]).run()
      logger.notice("ended")
    } catch let bad as BadConfiguration {
      for fault in bad.faults { logger.critical("\(fault)") }
      throw ExitCode(ExitStatus.badConfiguration.rawValue)
    } catch let error as SocketError {
      logger.critical("\(error)")
      if case .taken = error { throw ExitCode(ExitStatus.locked.rawValue) }
      throw ExitCode(ExitStatus.failed.rawValue)
    }
  }

  /// What is in the store and its pools; nothing before the first take makes the store.
  private static func families(
    _ engine: Engine, _ configuration: Configuration, _ schedules: ScheduleFile
  ) throws -> [MetricFamily] {
    let scheduled = try? schedules.read().map(\.guest)
    do {
      return try engine.status(configuration).families(scheduled: scheduled.map { Set($0) })
    } catch CheckpointError.noStore { return [] }
  }
}

/// Every take of the daemon is counted.
private struct Counting: TakeObserver {
  let takes: TakeMetrics
  func observe(_ event: TakeEvent, of guest: String) { takes.observe(event, of: guest) }
  func observe(_ manifest: EpochManifest) { takes.observe(manifest) }
}
