public import DeviceMapper
import Glibc

/// The pools of a store.
public struct Pools: Sendable {
  let store: String
  let operations: any ThinPoolOperations
  /// Seconds to wait for another process that changes a pool.
  private(set) var lockWait: Double
  /// Called again and again while it waits; ends the wait by throwing.
  private(set) var mayGoOn: @Sendable () throws -> Void = {}
  /// Seconds to wait for whoever has a device open for an instant, as udev does.
  let patience: Double

  public init(store: String, mapper: DeviceMapper, lockWait: Double = 5) {
    self.init(store: store, operations: mapper, lockWait: lockWait)
  }

  init(store: String, operations: any ThinPoolOperations, lockWait: Double) {
    self.store = store
    self.operations = operations
    self.lockWait = lockWait
    patience = lockWait
  }

  /// The same pools for one who can wait longer: another guest's take holds a pool from right before its pause to right after it, and
  /// some guests take long to freeze.
  func waiting(seconds: Double, _ mayGoOn: @escaping @Sendable () throws -> Void) -> Pools {
    var pools = self
    (pools.lockWait, pools.mayGoOn) = (seconds, mayGoOn)
    return pools
  }

  /// Names, sorted.
  public func names() -> [String] { PoolFolder.all(store: store).map(\.name) }

  /// The pool to use when none was named: the only one.
  ///
  /// - Throws: `PoolError.noDefault`.
  public func defaultName() throws -> String {
    let names = names()
    guard names.count == 1 else { throw PoolError.noDefault(pools: names) }
    return names[0]
  }

  // MARK: making

  /// Makes a pool on two block devices. They must be unused, carry nothing we recognise, and not be the same. They are remembered by
  /// names that stay with them, as far as they have such.
  public func create(_ name: String, data: String, metadata: String) throws {
    let stable = StableName()
    try create(
      name, makeBacking: { .devices(data: try stable.of(data), metadata: try stable.of(metadata)) })
  }

  /// Makes a pool in sparse files `NAME.data` and `NAME.metadata` in the folder `file`, for trials.
  ///
  /// - Parameter size: bytes of guest data, rounded down to the block.
  public func create(_ name: String, file: String, size: UInt64) throws {
    try create(name, makeBacking: { try PoolBacking.makeFiles(name, in: file, size: size) })
  }

  private func create(_ name: String, makeBacking: () throws -> PoolCatalog.Backing) throws {
    try DeviceName.check(name)
    let folder = PoolFolder(store: store, name: name)
    try folder.make()
    let lock = try folder.lock(wait: lockWait)
    guard !folder.exists else { throw PoolError.exists(pool: name) }
    let backing = try makeBacking()
    do {
      let attached = try operations.attach(backing)
      try PoolBacking.checkUsers(backing, attached, operations, patience: patience)
      try PoolBacking.check(backing, attached: attached)
      let identity = (0..<4).map { _ in String(UInt16.random(in: 0x1000...0xffff), radix: 16) }.joined()
      let catalog = PoolCatalog(name: name, identity: identity, backing: backing)
      if let info = try operations.info(catalog.poolDevice) {
        throw PoolError.deviceTaken(device: catalog.poolDevice, why: "it exists already (uuid \(info.uuid))")
      }
      try PoolBacking.prepare(backing)
      try folder.save(catalog)
    } catch {
      PoolBacking.discardFiles(backing)
      throw error
    }
    // The lock is needed again by `open`; until then the catalogue is complete and a crash leaves a pool to activate.
    _ = consume lock
    do { _ = try open(name) } catch {
      folder.removeCatalog()
      PoolBacking.discardFiles(backing)
      throw error
    }
  }

  // MARK: using

  /// The pool, locked, active and settled.
  func open(_ name: String) throws -> OpenPool {
    let folder = PoolFolder(store: store, name: name)
    guard folder.exists else { throw PoolError.unknown(pool: name) }
    return try OpenPool(folder, operations, under: folder.lock(wait: lockWait, mayGoOn), patience: patience)
  }

  /// After a reboot: attaches loop devices, makes the pool and its volumes' devices from the catalogue, settles what a crash left.
  /// Does nothing to what is there already.
  ///
  /// - Returns: disks that are not what the catalogue says, and why, a line each.
  @discardableResult
  public func ensureActive(_ name: String) throws -> [String] { try open(name).faults.map { "\($0.error)" } }

  /// Finishes or undoes what a dead process began to change in a pool.
  ///
  /// - Returns: whether there was something.
  func settle(_ name: String) throws -> Bool {
    let wasBegun = try PoolFolder(store: store, name: name).load().intent != nil
    _ = try open(name)
    return wasBegun
  }

  /// The first act of a starting daemon: lets every device of ours run that something left suspended. It waits for no lock.
  ///
  /// - Returns: the devices that had been suspended.
  /// - Throws: the first error, after all others were resumed.
  @discardableResult
  public func resumeSuspended() throws -> [String] {
    var resumed: [String] = []
    var failure: (any Error)?
    // Held to the end, so that no take begins its pause meanwhile. Whoever holds one is at work in that pool: he has let its devices run
    // when he began, and has them suspended now, if any, because he wants it.
    var locks: [PoolLock] = []
    var (volumes, busy): ([PoolCatalog.Volume], Set<String>) = ([], [])
    for folder in PoolFolder.all(store: store) {
      var isBusy = false
      do { locks.append(try folder.lock(wait: 0)) } catch {
        if case PoolError.locked = error { isBusy = true } else { failure = failure ?? error }
      }
      do {
        let catalog = try folder.load()
        if isBusy { busy.formUnion(catalog.devices) } else { volumes += catalog.volumes }
      } catch { failure = failure ?? error }
    }
    defer { withExtendedLifetime(locks) {} }
    for (device, _) in try operations.list() where device.hasPrefix(DeviceName.namePrefix) && !busy.contains(device) {
      do { if try resumeIfSuspended(device) { resumed.append(device) } } catch { failure = failure ?? error }
    }
    for volume in volumes {
      do { if let device = try resumeIfSwapped(volume) { resumed.append(device) } } catch { failure = failure ?? error }
    }
    if let failure { throw failure }
    return resumed
  }

  /// - Returns: whether it had been. One that is not ours is left alone.
  func resumeIfSuspended(_ device: String) throws -> Bool {
    guard let info = try operations.info(device), info.isOurs, info.suspended else { return false }
    // A table loaded by a dead rollback would go live; the pool's settling decides about it later.
    if info.hasInactiveTable { try operations.clear(device) }
    try operations.resume(device)
    return true
  }

  /// - Throws: `PoolError.unknown`.
  public func status(_ name: String) throws -> PoolReport {
    let catalog = try PoolFolder(store: store, name: name).load()
    let active = try operations.info(catalog.poolDevice)?.uuid == catalog.poolUUID
    let status = active ? try operations.poolStatus(catalog.poolDevice) : nil
    return PoolReport(catalog, status)
  }

  public func list() throws -> [PoolReport] { try names().map(status) }

  func catalogs() throws -> [PoolCatalog] { try PoolFolder.all(store: store).map { try $0.load() } }
}

/// A pool as `ckpt pool` shows it. Bytes.
public struct PoolReport: Equatable, Sendable {
  public var name: String
  public var device: String
  public var data: String
  public var metadata: String
  /// nil when the pool is not active.
  public var status: PoolStatus?
  public var blockBytes: UInt64
  public var volumes: Int
  /// Snapshots of disks, over all epochs.
  public var snapshots: Int
  /// How full it is; nil when the pool is not active.
  public var room: PoolRoom?
  /// Why an epoch would be refused now; nil when it would not.
  public var problem: String?
  /// How a person enlarges the part of it that is fuller.
  public var growth: String

  init(_ catalog: PoolCatalog, _ status: PoolStatus?) {
    name = catalog.name
    device = "/dev/mapper/\(catalog.poolDevice)"
    switch catalog.backing {
    case .devices(let data, let metadata), .files(let data, let metadata):
      (self.data, self.metadata) = (data, metadata)
    }
    self.status = status
    blockBytes = catalog.blockSectors * 512
    volumes = catalog.volumes.count
    snapshots = catalog.epochs.count
    room = status.map { PoolRoom(catalog, $0) }
    growth = catalog.growth(of: room.map { $0.metadataPercent > $0.dataPercent } == true ? .metadata : .data)
    do {
      guard catalog.removal == nil else { throw PoolError.beingRemoved(pool: name) }
      if let status { try PoolReserve.check(catalog, status) }
    } catch {
      problem = "\(error)"
    }
  }
}
