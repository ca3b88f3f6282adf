import DeviceMapper
import Glibc

extension Pools {
  /// Makes a pool larger while guests use it. Files are enlarged to the sizes given; devices must have been enlarged before, and
  /// are taken in whole.
  ///
  /// - Parameters:
  ///   - data: bytes of the data file, rounded down to the pool's block; nil leaves it.
  ///   - metadata: bytes of the metadata file, rounded down to 4 KiB; nil leaves it.
  /// - Throws: ``PoolError``; ``PoolError/cannotGrow(pool:why:)`` when the sizes do not fit.
  public func grow(_ name: String, data: UInt64? = nil, metadata: UInt64? = nil) throws {
    let pool = try open(name)
    switch pool.catalog.backing {
    case .devices:
      guard data == nil, metadata == nil else {
        throw PoolError.cannotGrow(
          pool: name, why: "it lies on devices: enlarge those (as lvextend does), then run: ckpt pool grow \(name)")
      }
    case .files(let dataFile, let metadataFile):
      guard data != nil || metadata != nil else {
        throw PoolError.cannotGrow(pool: name, why: "it lies in files: say --data-size or --metadata-size")
      }
      let block = pool.catalog.blockSectors * 512
      let larger = try [(dataFile, data.map { $0 / block * block }), (metadataFile, metadata.map { $0 / 4096 * 4096 })]
        .compactMap { file, bytes in try bytes.map { (file, try PoolBacking.checkGrowth(file, to: $0, pool: name)) } }
      for (file, bytes) in larger { try operations.enlarge(file: file, to: bytes) }
    }
    try pool.takeInSizes()
  }

  /// Doubles the metadata of a pool in files when less than a quarter of it is free and the file system has the room: a pool whose
  /// metadata is full takes no epoch, and gives none back.
  ///
  /// - Returns: what was done; nil when there was nothing to do.
  func growMetadataWhenLow(_ catalog: PoolCatalog, _ status: PoolStatus) throws -> String? {
    guard case .files(_, let file) = catalog.backing, status.mode != .failed, !status.needsCheck,
      status.freeMetadataBytes < status.totalMetadataBytes / 4
    else { return nil }
    let size = min(2 * status.totalMetadataBytes, PoolBacking.largestMetadata)
    guard size > status.totalMetadataBytes else { return nil }
    var system = statvfs()
    guard statvfs(file, &system) == 0, UInt64(system.f_bavail) * UInt64(system.f_frsize) >= 2 * size else { return nil }
    try grow(catalog.name, metadata: size)
    return
      "pool \(catalog.name): its metadata ran low and was grown from \(ByteCount.text(status.totalMetadataBytes)) to "
      + ByteCount.text(size)
  }
}

extension PoolCatalog {
  enum Part: String {
    case data, metadata
  }

  /// How a person enlarges one of its parts. Files grow by the command alone; what lies on devices does after the device.
  func growth(of part: Part) -> String {
    switch backing {
    case .devices: "enlarge its \(part.rawValue) device, then: ckpt pool grow \(name)"
    case .files: "enlarge its \(part.rawValue): ckpt pool grow \(name) --\(part.rawValue)-size SIZE"
    }
  }
}

extension OpenPool {
  /// Loads the pool's table with the sizes that its devices have now. The kernel takes in larger metadata as the pool resumes, and
  /// writes that waited for room go on.
  func takeInSizes() throws {
    let status = try operations.poolStatus(device)
    // Both other states end by it.
    if status.mode == .failed || status.needsCheck { try PoolReserve.checkHealth(catalog, status) }
    let table = self.table(over: try operations.attach(catalog.backing))
    let sectors = try operations.table(device).first?.sectors ?? 0
    guard table.sectors >= sectors else {
      throw PoolError.cannotGrow(
        pool: name,
        why: "its data device has \(ByteCount.text(table.sectors * 512)), the pool \(ByteCount.text(sectors * 512))")
    }
    // Ended meanwhile this would leave all guests of the pool waiting.
    let signals = HeldSignals()
    defer { signals.release() }
    try operations.swapTable(device, to: [table])
  }
}

extension PoolBacking {
  /// - Returns: the size, for a file that is not larger already.
  static func checkGrowth(_ file: String, to bytes: UInt64, pool: String) throws -> UInt64 {
    var status = stat()
    guard stat(file, &status) == 0 else { throw PoolError.io(operation: "examine", path: file, errno: errno) }
    guard bytes >= UInt64(status.st_size) else {
      throw PoolError.cannotGrow(
        pool: pool, why: "\(file) has \(ByteCount.text(UInt64(status.st_size))) already, and a pool cannot shrink")
    }
    return bytes
  }
}
