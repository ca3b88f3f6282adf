public import DeviceMapper
import Synchronization

/// Looks after the pools of a store, for a service that stays: enlarges metadata in files that run low, and tells of each warning
/// once, until it has gone and come again.
public final class PoolKeeper: Sendable {
  /// What comes of a look, a line each.
  public enum Event: Equatable, Sendable {
    case grown(String)
    case warning(String)
  }

  private let store: String
  private let pools: @Sendable () throws -> Pools
  /// Warnings that hold, and whether the command was told of them.
  private let known = Mutex<[PoolWarning.Subject: Bool]>([:])

  public convenience init(_ engine: Engine) { self.init(store: engine.storePath) { try engine.pools() } }

  init(store: String, pools: @escaping @Sendable () throws -> Pools) { (self.store, self.pools) = (store, pools) }

  /// Looks at every pool of the store. One look at a time.
  ///
  /// - Parameters:
  ///   - options: what is configured for all guests: whom to tell.
  ///   - cancellation: ends the wait for a take that has a pool, and the command.
  /// - Returns: device-mapper's names of the pools, active or not.
  public func look(
    _ options: TakeOptions, _ cancellation: TakeCancellation, report: (Event) -> Void
  ) -> [String] {
    let (devices, warnings) = examine(cancellation, report)
    // What was not looked at has not gone.
    guard !cancellation.isCancelled else { return devices }
    let subjects = Set(warnings.map(\.subject))
    known.withLock { known in known = known.filter { subjects.contains($0.key) } }
    for warning in warnings { tell(warning, options, cancellation, report) }
    return devices
  }

  /// Tells of events of these devices, until the watch goes away.
  ///
  /// - Throws: `DeviceMapperError` when the kernel cannot be asked.
  public func watch(_ devices: [String], changed: @escaping @Sendable (String) -> Void) throws -> PoolWatch {
    try PoolWatch(DeviceMapper(), pools: devices, changed: changed)
  }

  // MARK: looking

  private func examine(
    _ cancellation: TakeCancellation, _ report: (Event) -> Void
  ) -> (devices: [String], warnings: [PoolWarning]) {
    let folders = PoolFolder.all(store: store)
    // Without pools device-mapper need not be there.
    guard !folders.isEmpty else { return ([], []) }
    let pools: Pools
    // Longer than a take has a pool: some guests take long to freeze.
    do { pools = try self.pools().waiting(seconds: 60) { try cancellation.check() } } catch {
      return ([], [PoolWarning("", .unknown, "the pools cannot be looked at: \(error)")])
    }
    var (devices, warnings): ([String], [PoolWarning]) = ([], [])
    for folder in folders where !cancellation.isCancelled {
      do {
        let catalog = try folder.load()
        devices.append(catalog.poolDevice)
        let wasRead = MetadataMark.isTaken(folder)
        warnings += try examine(catalog, pools, report).filter {
          // An export, or a comparison, of ours holds it.
          $0.subject.kind != .heldMetadata || !wasRead && !MetadataMark.isTaken(folder)
        }
      } catch PoolError.unknown {
        // Removed meanwhile.
      } catch {
        warnings.append(PoolWarning(folder.name, .unknown, "pool \(folder.name) cannot be looked at: \(error)"))
      }
    }
    return (devices, warnings)
  }

  private func examine(
    _ catalog: PoolCatalog, _ pools: Pools, _ report: (Event) -> Void
  ) throws -> [PoolWarning] {
    let operations = pools.operations
    guard try operations.info(catalog.poolDevice)?.uuid == catalog.poolUUID else { return [] }
    // What cannot be released is warned of.
    _ = try? MetadataSnapshot.releaseIfAbandoned(catalog.name, in: pools)
    var status = try operations.poolStatus(catalog.poolDevice)
    var warnings: [PoolWarning] = []
    do {
      if let growth = try pools.growMetadataWhenLow(catalog, status) {
        report(.grown(growth))
        status = try operations.poolStatus(catalog.poolDevice)
      }
    } catch {
      let text = "pool \(catalog.name): its metadata run low and could not be enlarged: \(error)"
      warnings.append(PoolWarning(catalog.name, .growth, text))
    }
    warnings += PoolRoom(catalog, status).early(catalog, status)
    do { try PoolReserve.check(catalog, status) } catch {
      warnings.append(PoolWarning(catalog.name, refusedFor: error))
    }
    return warnings
  }

  // MARK: telling

  /// A command that failed is run again at the next look.
  private func tell(
    _ warning: PoolWarning, _ options: TakeOptions, _ cancellation: TakeCancellation, _ report: (Event) -> Void
  ) {
    let isTold = known.withLock { known in
      defer { known[warning.subject] = known[warning.subject] ?? false }
      return known[warning.subject]
    }
    if isTold == nil { report(.warning(warning.text)) }
    guard isTold != true, let command = options.notify else { return }
    var about = ["CKPT_RESULT": "warning", "CKPT_ERROR": warning.text]
    if !warning.subject.pool.isEmpty { about["CKPT_POOL"] = warning.subject.pool }
    let hooks = TakeHooks(options.hooks, store: store)
    do {
      if let failure = try hooks.notify(command, about, cancellation.check) { return report(.warning("\(failure)")) }
      known.withLock { $0[warning.subject] = true }
    } catch {
      // The service ends; the next one tells.
    }
  }
}
