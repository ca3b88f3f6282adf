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
    let faults = load(atStart: true)
    guard faults.isEmpty else { throw BadConfiguration(faults: faults) }
  }

  var value: Configuration { state.withLock { $0.value } }
  /// nil when there is no file.
  var usedPath: String? { state.withLock { $0.isRead ? path : nil } }

  /// Reads the file again; with a fault, the old configuration stays. The log tells.
  @discardableResult
  func reload() -> ReloadAnswer {
    let faults = load(atStart: false)
    for fault in faults { logger.error("\(fault)") }
    if faults.isEmpty {
      logger.notice("configuration: \(usedPath ?? "none, every value is the default")")
    } else {
      logger.error("the configuration has faults; the old one stays")
    }
    return ReloadAnswer(config: usedPath, faults: faults)
  }

  /// - Parameter atStart: a program that cannot be run is no fault: it may lie on a file system that is mounted later, and without
  ///   ckptd no guest would be taken at all. Whoever takes the file over by hand is told.
  private func load(atStart: Bool) -> [String] {
    guard isRequired || access(path, F_OK) == 0 else {
      state.withLock { $0 = (Configuration(), false) }
      return []
    }
    let faults = Configuration.faults(path: path).map(\.description)
    let read: Configuration
    do { read = try Configuration(path: path) } catch { return faults.isEmpty ? [error.description] : faults }
    guard faults.isEmpty || atStart else { return faults }
    for fault in faults { logger.warning("\(fault); it is looked at again by each take that wants to run it") }
    state.withLock { $0 = (read, true) }
    return []
  }
}

/// A daemon must not guess what its configuration was meant to say.
struct BadConfiguration: Error { let faults: [String] }
