import DeviceMapper

/// What became of what a removed pool lay on.
public struct RemovedPool: Equatable, Sendable {
  /// Volumes of LVM, or files, that are gone.
  public var gone: [String]
  /// What a person should know; nil when there is nothing.
  public var note: String?
}

// From its begin on the catalogue tells of a removal: nobody opens the pool any more, and removing it again goes on where a crash broke
// it off. The catalogue goes last.
extension Pools {
  /// Finds out, changing nothing, whether a pool can be removed.
  ///
  /// - Returns: the pool as it is.
  /// - Throws: `PoolError.unknown`, `PoolError.notEmpty` with what stands in the way.
  public func removable(_ name: String) throws -> PoolReport {
    let catalog = try PoolFolder(store: store, name: name).load()
    try requireEmpty(catalog)
    // One that is too damaged to tell can be removed as well.
    return PoolReport(catalog, try device(of: catalog).flatMap { try? operations.poolStatus($0.name) })
  }

  /// Removes a pool in which nothing is, active or not, with what was made for it: volumes of LVM, or files. Devices that it was given
  /// are free for another pool then.
  ///
  /// - Throws: as ``removable(_:)``; `PoolError.foreignTransaction` for a pool of which the catalogue does not know all.
  @discardableResult
  public func remove(_ name: String) throws -> RemovedPool {
    let folder = PoolFolder(store: store, name: name)
    guard folder.exists else { throw PoolError.unknown(pool: name) }
    let lock = try folder.lock(wait: lockWait, mayGoOn)
    defer { withExtendedLifetime(lock) {} }
    var catalog = try folder.load()
    // Before it is opened: a pool that stays shall not become active by this.
    try requireEmpty(catalog)
    if catalog.removal == nil {
      let opened = try openIfPossible(folder, under: lock)
      catalog = opened ?? catalog
      // What a dead process began has come to its end now.
      try requireEmpty(catalog)
      catalog.removal = opened == nil ? .leaving : .wiping
      // Nothing is to be made of it any more, nor asked of it.
      (catalog.doomed, catalog.intent) = ([], nil)
      try folder.save(catalog)
    }
    if let device = try device(of: catalog) { try operations.remove(device.name) }
    let gone = try removeBacking(of: catalog)
    try folder.remove()
    return RemovedPool(gone: gone, note: gone.isEmpty ? catalog.noteOnDevices : nil)
  }

  /// - Returns: nil for a pool that cannot be opened, as one that is damaged or whose devices are gone: it shall not stay for ever.
  private func openIfPossible(_ folder: PoolFolder, under lock: PoolLock) throws -> PoolCatalog? {
    do { return try OpenPool(folder, operations, under: lock, patience: patience).catalog } catch {
      // The catalogue may be an old copy, and the pool full of disks.
      if case PoolError.foreignTransaction = error { throw error }
      return nil
    }
  }

  private func removeBacking(of catalog: PoolCatalog) throws -> [String] {
    guard catalog.removal == .wiping else { return [] }
    switch catalog.backing {
    case .files(let data, let metadata):
      return try [data, metadata].filter { try operations.remove(file: $0) }
    case .devices(let data, let metadata):
      let gone = try PoolVolumes(under: catalog)?.all.filter { try operations.removePoolVolume($0) } ?? []
      if gone.isEmpty { try operations.wipe(data: data, metadata: metadata) }
      return gone.map(\.path)
    }
  }

  // MARK: what stands in the way

  private func requireEmpty(_ catalog: PoolCatalog) throws {
    func refused(_ what: String, _ command: String) -> PoolError {
      .notEmpty(pool: catalog.name, what: what, command: command)
    }
    if let first = catalog.epochs.first {
      let epochs = Set(catalog.epochs.filter { $0.guestUUID == first.guestUUID }.map(\.epoch)).sorted()
      let numbers = epochs.prefix(8).map(String.init).joined(separator: " ")
      throw refused(
        "it has disks of \(epochs.count) epoch\(epochs.count == 1 ? "" : "s") of guest \(catalog.guest(of: first))",
        "remove them first: ckpt remove \(first.guestUUID) \(numbers)")
    }
    if let first = catalog.volumes.first {
      let disks = catalog.volumes.map { "\($0.vdev) of \($0.guest)" }.joined(separator: ", ")
      let command = first.origin == nil ? "ckpt disk remove \(first.guest)" : "ckpt release \(first.guest)"
      throw refused("it has guests' disks (\(disks))", "remove them first: \(command)")
    }
    guard let device = try device(of: catalog) else { return }
    if let user = try user(of: device) {
      throw refused("/dev/mapper/\(user.name) stands on it", catalog.commandThatEnds(user))
    }
    if try operations.openers(of: device.name, atMost: 0, patience: patience) > 0 {
      throw refused("somebody has /dev/mapper/\(device.name) open", "end that, then: ckpt pool remove \(catalog.name)")
    }
  }

  /// nil for a pool that is not active.
  private func device(of catalog: PoolCatalog) throws -> DeviceInfo? {
    let info = try operations.info(catalog.poolDevice)
    return info?.uuid == catalog.poolUUID ? info : nil
  }

  /// A device that shows something of a pool; nil when there is none.
  private func user(of pool: DeviceInfo) throws -> DeviceInfo? {
    for (name, _) in try operations.list().sorted(by: { $0.name < $1.name }) {
      let isUser = try operations.table(name).contains { $0.thinVolume?.pool == pool.number }
      if isUser { return try operations.info(name) }
    }
    return nil
  }
}

extension PoolCatalog {
  /// The name of a snapshot's guest, as far as its disk is there to tell.
  fileprivate func guest(of snapshot: Snapshot) -> String {
    volumes.first { $0.device == snapshot.device }?.guest ?? snapshot.guestUUID
  }

  /// What takes away a device that shows something of the pool.
  fileprivate func commandThatEnds(_ user: DeviceInfo) -> String {
    if isCopy(user) { return "wait for the `ckpt disk create` that made it, or where that was killed: ckpt pool start" }
    if EpochView(user, in: self, mounts: Mounts(""))?.kind == .carried {
      return "wait for the export or import that made it, or where that was killed: ckpt recover"
    }
    return "take that away first: dmsetup remove \(user.name)"
  }

  /// What is to be told of devices that a removal left as they are.
  fileprivate var noteOnDevices: String? {
    guard removal == .leaving else { return nil }
    let (data, metadata) =
      switch backing {
      case .devices(let data, let metadata), .files(let data, let metadata): (data, metadata)
      }
    return
      "pool \(name) could not be opened, so \(data) and \(metadata) were left as they are: nobody knows what is in "
      + "them; remove them yourself (lvremove, rm, wipefs -a)"
  }
}
