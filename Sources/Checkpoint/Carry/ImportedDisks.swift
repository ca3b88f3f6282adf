import DeviceMapper
import EpochStore
import Glibc

/// The disks of an epoch that is being imported. In this order: `prepare`, writing, `commit`; `abandon` at any time takes all of it back.
///
/// Until `commit` their thin ids count as doomed: whatever becomes of this process, the pool deletes them as soon as no device shows them.
final class ImportedDisks {
  /// One disk that comes.
  struct Wanted {
    /// Its place in the manifest.
    var number: Int
    var disk: DiskEpoch
    /// The snapshot that it is changed from; nil for one that comes as a whole.
    var base: DiskEpoch?
  }

  private struct Staged {
    var pool: String
    var snapshot: PoolCatalog.Snapshot
    var device: String
    var blockBytes: UInt64
    /// What has no block reads as the volume of LVM that the disk stands on.
    var hasOrigin: Bool
    var content: (any DiskContent)?
  }

  private let pools: Pools
  private let access: DiskAccess
  private let guestUUID: String
  private let epoch: Int
  private let file: String
  private var staged: [Int: Staged] = [:]
  /// Pools in which something was begun.
  private var touched: [String: FilledPool] = [:]
  private var isCommitted = false

  init(_ pools: Pools, _ access: DiskAccess, guestUUID: String, epoch: Int, file: String) {
    (self.pools, self.access, self.guestUUID, self.epoch, self.file) = (pools, access, guestUUID, epoch, file)
  }

  /// Makes what the bytes go to.
  ///
  /// - Parameter pool: for whole disks that no epoch of the guest is in a pool of; nil for the only one.
  /// - Returns: the disks as the manifest here is to have them, by their place in it.
  func prepare(_ wanted: [Wanted], guest: String, pool: String?) throws -> [Int: DiskEpoch] {
    let homes = DiskHomes(try pools.catalogs(), guestUUID: guestUUID, file: file)
    var result: [Int: DiskEpoch] = [:]
    for one in wanted {
      let device = try homes.device(of: one.disk, guest: guest)
      let known = try homes.pool(of: device, size: one.disk.sizeBytes)
      let home = try one.base?.pool ?? known ?? pool ?? pools.defaultName()
      guard known == nil || known == home, pool == nil || pool == home else {
        throw refused(device, "epochs of it are in pool \(known ?? home), where it has to go too")
      }
      if known == nil, try !Disks(pools).isFree(device, in: pools.catalogs()) {
        throw refused(device, "there is such a device already")
      }
      result[one.number] = try make(one, device, in: home)
    }
    return result
  }

  private func make(_ wanted: Wanted, _ device: String, in name: String) throws -> DiskEpoch {
    let pool = try pools.open(name)
    try PoolReserve.check(pool.catalog, pool.operations.poolStatus(pool.device))
    guard !pool.catalog.has(guestUUID, epoch) else {
      throw refused(
        device, DiskOnlyEpochs(pool: name, guestUUID: guestUUID, epochs: [epoch]).obstacle(to: epoch))
    }
    let blockBytes = pool.catalog.blockSectors * 512
    guard wanted.disk.sizeBytes % blockBytes == 0 else {
      throw refused(device, "its size is no multiple of the pool's blocks of \(blockBytes) bytes")
    }
    let sectorBytes = try pool.operations.sectorBytes(pool.device)
    guard wanted.disk.sectorBytes ?? sectorBytes == sectorBytes else {
      throw refused(
        device,
        "its sectors have \(wanted.disk.sectorBytes ?? 0) bytes, those of pool \(name) \(sectorBytes), which the guest would not "
          + "understand; name a pool on devices with the same sectors (--pool; ckpt pool create)")
    }
    let hasOrigin = pool.catalog.volumes.contains { $0.device == device && $0.hasOrigin }
    guard !hasOrigin || wanted.base != nil else {
      throw refused(
        device,
        "it is adopted here (ckpt adopt), or a clone of such a disk, and the bundle has it as a whole; import into another "
          + "store")
    }
    let origin = try wanted.base.map { try self.origin($0, device, in: pool.catalog) }
    var snapshot = PoolCatalog.Snapshot(
      guestUUID: guestUUID, epoch: epoch, vdev: wanted.disk.vdev, thinID: 0, sizeSectors: wanted.disk.sizeBytes / 512,
      device: device)
    touched[name] = FilledPool(pool.catalog)
    try pool.change { catalog in
      snapshot.thinID = try catalog.takeThinID()
      catalog.doomed.append(snapshot.thinID)
    }
    if let origin {
      try pool.operations.createSnapshot(pool: pool.device, id: snapshot.thinID, of: origin)
    } else {
      try pool.operations.createThin(pool: pool.device, id: snapshot.thinID)
    }
    let shown = try CarriedDevices(pools: pools).make(snapshot, in: pool, readOnly: false)
    staged[wanted.number] = Staged(
      pool: name, snapshot: snapshot, device: shown, blockBytes: blockBytes, hasOrigin: hasOrigin)
    staged[wanted.number]?.content = try access.open(shown, true)
    return DiskEpoch(
      vdev: wanted.disk.vdev, pool: name, thinID: snapshot.thinID, sizeBytes: wanted.disk.sizeBytes,
      sectorBytes: sectorBytes, device: "/dev/mapper/\(device)", readOnly: false)
  }

  private func origin(_ base: DiskEpoch, _ device: String, in catalog: PoolCatalog) throws -> ThinID {
    guard let found = catalog.epochs.first(where: { $0.guestUUID == guestUUID && $0.thinID == base.thinID }),
      found.device == device
    else { throw refused(device, "the pool does not have the disk that it is changed from") }
    return found.thinID
  }

  private func refused(_ device: String, _ why: String) -> CarryError {
    .disk(file: file, device: "/dev/mapper/\(device)", why)
  }

  // MARK: Bytes

  /// - Throws: ``CarryError``, `PoolError.nearlyFull` before guests of the pool could run out of it.
  func write(_ bytes: UnsafeRawBufferPointer, disk number: Int, at offset: UInt64) throws {
    try write(bytes, to: disk(number, holding: offset, UInt64(bytes.count)), at: offset)
  }

  private func write(_ bytes: UnsafeRawBufferPointer, to disk: Staged, at offset: UInt64) throws {
    try touched[disk.pool]?.give(offset..<(offset + UInt64(bytes.count)), pools.operations)
    try disk.content?.write(bytes, at: offset)
  }

  /// Makes a range read as zeros.
  func clear(_ range: Range<UInt64>, disk number: Int) throws {
    let disk = try self.disk(number, holding: range.lowerBound, range.upperBound - range.lowerBound)
    // Only whole blocks can be given back.
    let isWhole = range.lowerBound % disk.blockBytes == 0 && range.upperBound % disk.blockBytes == 0
    if isWhole, !disk.hasOrigin, try disk.content?.discard(range) == true { return }
    let zeros = UnsafeMutableRawBufferPointer.allocate(byteCount: BundleFormat.dataBytes, alignment: 4096)
    defer { zeros.deallocate() }
    zeros.initializeMemory(as: UInt8.self, repeating: 0)
    var offset = range.lowerBound
    while offset < range.upperBound {
      let count = Int(min(UInt64(zeros.count), range.upperBound - offset))
      try write(UnsafeRawBufferPointer(rebasing: zeros[..<count]), to: disk, at: offset)
      offset += UInt64(count)
    }
  }

  private func disk(_ number: Int, holding offset: UInt64, _ count: UInt64) throws -> Staged {
    guard let disk = staged[number] else {
      throw CarryError.nonsense(file: file, "it has bytes of a disk that does not come")
    }
    let size = disk.snapshot.sizeSectors * 512
    guard offset <= size, count <= size - offset else {
      throw CarryError.nonsense(file: file, "it has bytes beyond the end of disk \(disk.snapshot.vdev)")
    }
    return disk
  }

  // MARK: The end

  /// Everything was written: makes the disks the epoch's. They are garbage until its manifest names them.
  func commit() throws {
    for number in staged.keys {
      try staged[number]?.content?.sync()
      staged[number]?.content = nil
    }
    isCommitted = true
    for name in Set(staged.values.map(\.pool)).sorted() {
      let pool = try pools.open(name)
      let ours = staged.values.filter { $0.pool == name }.sorted { $0.snapshot.thinID < $1.snapshot.thinID }
      let ids = Set(ours.map(\.snapshot.thinID))
      try pool.begin { catalog in
        catalog.doomed.removeAll(where: ids.contains)
        return .takeEpoch(snapshots: ours.map(\.snapshot))
      }
      for one in ours { try pool.operations.remove(one.device) }
      try pool.commit()
    }
  }

  /// What cannot be taken back now is found by `ckpt recover`.
  func abandon() {
    for number in staged.keys { staged[number]?.content = nil }
    for one in staged.values where (try? pools.operations.info(one.device)) ?? nil != nil {
      try? pools.operations.remove(one.device)
    }
    if isCommitted { try? DiskHistory(pools, guestUUID: guestUUID).forget(epoch: epoch) }
    // Opening a pool settles what was begun, and deletes what is doomed.
    for name in touched.keys { _ = try? pools.ensureActive(name) }
    (staged, touched) = ([:], [:])
  }
}
