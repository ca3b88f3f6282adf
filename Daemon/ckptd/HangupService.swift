import ServiceLifecycle
import UnixSignals

/// SIGHUP: the configuration is read anew.
struct HangupService: Service {
  let configuration: CurrentConfiguration

  func run() async throws {
    for await _ in await UnixSignalsSequence(trapping: .sighup).cancelOnGracefulShutdown() { configuration.reload() }
  }
}
