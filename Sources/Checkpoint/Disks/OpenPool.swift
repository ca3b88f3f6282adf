import DeviceMapper
import Glibc

/// A pool with its lock held, active and settled: the only way to change one.
///
/// Every change follows the same steps: the catalogue says what is about to be done (transaction T to T+1), the pool does it, the
/// pool's transaction id goes from T to T+1, the catalogue says that it is done. `settle` finds in the pool which of them a
/// crash left out.
final class OpenPool {
  let folder: PoolFolder
  let operations: any ThinPoolOperations
  private(set) var catalog: PoolCatalog
  /// Disks that are not what the catalogue says, by their devices, and why: others of the pool are not kept from working by it.
  var faults: [(device: String, error: any Error)] = []
  /// Seconds to wait for whoever has a device open for an instant, as udev does.
  let patience: Double
  private let lock: PoolLock

  var name: String { catalog.name }
  var device: String { catalog.poolDevice }

  init(
    _ folder: PoolFolder, _ operations: any ThinPoolOperations, under lock: PoolLock, patience: Double
  ) throws {
    self.folder = folder
    self.operations = operations
    self.lock = lock
    self.patience = patience
    catalog = try folder.load()
    guard catalog.removal == nil else { throw PoolError.beingRemoved(pool: folder.name) }
    try activatePool()
    try settle()
    try activateVolumes()
  }

  /// Changes the catalogue, on disk first.
  func change(_ body: (inout PoolCatalog) throws -> Void) throws {
    var new = catalog
    try body(&new)
    try folder.save(new)
    catalog = new
  }

  // MARK: changes

  /// Writes down what is about to be done. `body` makes the change, taking thin ids as it needs them.
  func begin(_ body: (inout PoolCatalog) throws -> PoolCatalog.Intent.Change) throws {
    try change { catalog in
      let change = try body(&catalog)
      catalog.intent = PoolCatalog.Intent(from: catalog.transactionID, change: change)
    }
  }

  /// The pool has done it: moves its transaction id, then the catalogue.
  func commit() throws {
    guard let intent = catalog.intent else { throw DiskError.outOfOrder(call: "commit") }
    try operations.setTransactionID(pool: device, from: intent.from, to: intent.from + 1)
    // The message succeeds also when the pool could not write it (pool_message in dm-thin.c); it is read-only then, with the old id.
    let status = try operations.poolStatus(device)
    guard status.transactionID == intent.from + 1 else {
      try PoolReserve.checkHealth(catalog, status)
      throw PoolError.foreignTransaction(pool: name, found: status.transactionID, expected: intent.from + 1)
    }
    try change { catalog in
      if case .takeEpoch(let snapshots) = intent.change { catalog.epochs += snapshots }
      Self.finish(intent, &catalog)
    }
    switch intent.change {
    case .createVolume(let volume): try activate(volume)
    case .cloneEpoch(let volumes): for volume in volumes { try activate(volume) }
    case .takeEpoch, .rollBack, .undoRollback, .removeVolumes: break
    }
  }

  /// Takes the begun change back.
  func abandon() throws {
    if catalog.intent != nil { try settle() }
  }

  /// Runs a whole change; takes it back when it fails.
  func perform(_ change: PoolCatalog.Intent.Change, _ work: () throws -> Void) throws {
    try perform({ _ in change }, work)
  }

  /// The same for a change that needs thin ids, which it takes as ``begin(_:)`` says.
  func perform(
    _ change: (inout PoolCatalog) throws -> PoolCatalog.Intent.Change, _ work: () throws -> Void
  ) throws {
    try begin(change)
    do {
      try work()
      try commit()
    } catch {
      // The first error is the one to report; what cannot be taken back now is settled by the next operation.
      try? abandon()
      throw error
    }
  }

  /// Deletes what nothing refers to. One that is still in use stays on the list, and so does all of it while the pool takes
  /// no messages; one that the pool does not have is off it.
  func deleteDoomed() throws {
    guard !catalog.doomed.isEmpty else { return }
    // Every message to a read-only or failed pool is refused, this one too.
    let mode = try operations.poolStatus(device).mode
    guard mode == .readWrite || mode == .outOfDataSpace else { return }
    var kept: [ThinID] = []
    for id in catalog.doomed {
      do { try operations.deleteThin(pool: device, id: id) } catch let error as DeviceMapperError
        where error.code == EBUSY
      {
        kept.append(id)
      }
    }
    try change { $0.doomed = kept }
  }

  // MARK: after a crash

  /// Compares pool and catalogue. The pool is at T: the begun change is undone. At T+1: it is finished, save that an epoch is
  /// dropped, because its manifest is written only after `commit`. Anything else is not ours to repair.
  private func settle() throws {
    let status = try operations.poolStatus(device)
    // A failed pool shows no transaction id.
    if status.mode == .failed { try PoolReserve.checkHealth(catalog, status) }
    let found = status.transactionID
    if let intent = catalog.intent {
      switch found {
      case intent.from: try undo(intent)
      case intent.from + 1:
        try change { catalog in
          if case .takeEpoch(let snapshots) = intent.change { catalog.doomed += snapshots.map(\.thinID) }
          Self.finish(intent, &catalog)
        }
      default: throw PoolError.foreignTransaction(pool: name, found: found, expected: intent.from)
      }
    } else if found != catalog.transactionID {
      throw PoolError.foreignTransaction(pool: name, found: found, expected: catalog.transactionID)
    }
    try removeDeadCopies()
    try deleteDoomed()
  }

  private func undo(_ intent: PoolCatalog.Intent) throws {
    switch intent.change {
    case .rollBack(let swaps), .undoRollback(let swaps):
      for swap in swaps {
        // What the pool lost cannot be shown again: the device stays as it is, and whoever opens the pool tells of it.
        do { try show(swap.old, on: swap.device) } catch let error as DeviceMapperError where error.code == ENODATA {}
      }
    case .removeVolumes(let volumes):
      // After a boot the origin of a clone is not there yet: both are made when this is settled.
      for volume in volumes where try operations.info(volume.device) == nil && hasWhatItStandsOn(volume) {
        // One that was to go because it is wrong is wrong still: whoever opens the pool tells of it.
        do { try activate(volume) } catch let error where concernsOneDisk(error) {}
      }
    case .createVolume, .takeEpoch, .cloneEpoch: break
    }
    try change { catalog in
      switch intent.change {
      case .createVolume(let volume): catalog.doomed.append(volume.thinID)
      case .takeEpoch(let snapshots): catalog.doomed += snapshots.map(\.thinID)
      case .rollBack(let swaps): catalog.doomed += swaps.map(\.new)
      case .cloneEpoch(let volumes): catalog.doomed += volumes.map(\.thinID)
      case .undoRollback, .removeVolumes: break
      }
      catalog.intent = nil
    }
  }

  /// The catalogue's part of a change that the pool has done.
  private static func finish(_ intent: PoolCatalog.Intent, _ catalog: inout PoolCatalog) {
    switch intent.change {
    case .createVolume(let volume): catalog.volumes.append(volume)
    case .takeEpoch: break
    case .rollBack(let swaps):
      for swap in swaps {
        catalog.setLive(swap)
        catalog.superseded.append(
          PoolCatalog.Superseded(guestUUID: swap.guestUUID, device: swap.device, thinID: swap.old))
      }
    case .undoRollback(let swaps):
      for swap in swaps {
        catalog.setLive(swap)
        catalog.superseded.removeAll { $0.thinID == swap.new }
        catalog.doomed.append(swap.old)
      }
    case .cloneEpoch(let volumes): catalog.volumes += volumes
    case .removeVolumes(let volumes): catalog.remove(volumes)
    }
    catalog.transactionID = intent.from + 1
    catalog.intent = nil
  }

  /// Makes the volume's device show `id`, in place. A device that is not active will be made from the catalogue, another program's is
  /// left alone.
  func show(_ id: ThinID, on device: String) throws {
    guard var volume = catalog.volumes.first(where: { $0.device == device }),
      let info = try operations.made(device, uuid: catalog.uuid(ofDevice: device)),
      info.uuid == catalog.uuid(ofDevice: device)
    else { return }
    // A table that a dead process loaded would go live at the next resume.
    if info.hasInactiveTable { try operations.clear(device) }
    volume.thinID = id
    let table = [try self.table(of: volume)]
    guard try operations.table(device) != table else { return }
    try operations.swapTable(device, to: table)
    // The volume's own device shows the same; dom0 may have read it.
    if let origin = volume.origin, try operations.info(origin.device) != nil {
      try operations.flushBuffers(origin.device)
    }
  }
}

extension PoolCatalog {
  /// What rollbacks kept of them goes too.
  fileprivate mutating func remove(_ volumes: [Volume]) {
    let devices = Set(volumes.map(\.device))
    doomed += volumes.map(\.thinID) + superseded.filter { devices.contains($0.device) }.map(\.thinID)
    self.volumes.removeAll { devices.contains($0.device) }
    superseded.removeAll { devices.contains($0.device) }
  }

  fileprivate mutating func setLive(_ swap: Swap) {
    guard let index = volumes.firstIndex(where: { $0.device == swap.device }) else { return }
    volumes[index].thinID = swap.new
  }
}
