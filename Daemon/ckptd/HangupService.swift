import ServiceLifecycle
import UnixSignals

/// SIGHUP: the configuration is read anew, and schedules that were changed.
struct HangupService: Service {
  let configuration: CurrentConfiguration
  let schedules: ScheduleService

  func run() async throws {
    for await _ in await UnixSignalsSequence(trapping: .sighup).cancelOnGracefulShutdown() {
      configuration.reload()
      schedules.reload()
    }
  }
}
