import Checkpoint
import ControlAPI
import Glibc
import Logging
import Synchronization

/// The configuration as it was last found good.
final class CurrentConfiguration: Sendable {
  let path: String
  /// It was asked for by name: that there is none is a fault.
  private let isRequired: Bool
  private let logger: Logger
  private let state: Mutex<(value: Configuration, isRead: Bool)>

  /// - Throws: ``BadConfiguration`` with everything that is wrong.
  init(path: String?, logger: Logger) throws {
    self.path = path ?? Configuration.defaultPath
    isRequired = path != nil
    self.logger = logger
    state = Mutex((Configuration(), false))
    let faults = load()
    guard faults.isEmpty else { throw BadConfiguration(faults: faults) }
  }

  var value: Configuration { state.withLock { $0.value } }
  /// nil when there is no file.
  var usedPath: String? { state.withLock { $0.isRead ? path : nil } }

  /// Reads the file again; with a fault, the old configuration stays. The log tells.
  @discardableResult
  func reload() -> ReloadAnswer {
    let faults = load()
    for fault in faults { logger.error("\(fault)") }
    if faults.isEmpty {
      logger.notice("configuration: \(usedPath ?? "none, every value is the default")")
    } else {
      logger.error("the configuration has faults; the old one stays")
    }
    return ReloadAnswer(config: usedPath, faults: faults)
  }

  private func load() -> [String] {
    guard isRequired || access(path, F_OK) == 0 else {
      state.withLock { $0 = (Configuration(), false) }
      return []
    }
    do {
      let read = try Configuration(path: path)
      state.withLock { $0 = (read, true) }
      return []
    } catch {
      let all = Configuration.faults(path: path)
      return (all.isEmpty ? [error] : all).map(\.description)
    }
  }
}

/// A daemon must not guess what its configuration was meant to say.
struct BadConfiguration: Error { let faults: [String] }
