import DeviceMapper
import Glibc

/// A disk that is made with the content of another one. In this order: `prepare`, `fill`, `compare`, `publish`; `abandon` at any time takes
/// it back.
///
/// Until `publish` its thin id counts as doomed, and only a device of another name shows it: whatever becomes of this process, the pool's next
/// user takes both away. The pool is locked at the beginning and at the end alone, so that takes go on meanwhile.
final class DiskCopy {
  private let pools: Pools
  private let access: DiskAccess
  private let source: DiskSource
  private let cancellation: TakeCancellation
  private var volume: PoolCatalog.Volume?
  private var filled: FilledPool?
  private var content: (any DiskContent)?

  init(_ pools: Pools, _ access: DiskAccess, _ source: DiskSource, _ cancellation: TakeCancellation) {
    (self.pools, self.access, self.source, self.cancellation) = (pools, access, source, cancellation)
  }

  /// Makes what the bytes go to.
  func prepare(guest: String, vdev: String, pool name: String?) throws {
    let pool = try pools.waiting(for: cancellation).open(name ?? pools.defaultName())
    // Nobody may open the pool before we have the device open: he would take it for a dead process's.
    defer { withExtendedLifetime(pool) {} }
    let device = try Disks.deviceName(guest: guest, vdev: vdev)
    var volume = PoolCatalog.Volume(
      guest: guest, vdev: vdev, thinID: 0, sizeSectors: Self.sectors(source.sizeBytes, in: pool.catalog), device: device
    )
    try source.requireUnused(pools, copiedInto: pool.name)
    guard try !source.isShown(by: device, pool.operations) else {
      throw DiskSourceError.ownName(path: source.path, guest: guest, vdev: vdev, pool: pool.name)
    }
    try Disks(pools).requireFree(device, for: guest)
    guard try pool.operations.info(volume.copyDevice) == nil else { throw DiskError.exists(device: device) }
    let sectorBytes = try pool.operations.sectorBytes(pool.device)
    guard source.sectorBytes == sectorBytes else {
      throw DiskSourceError.sectors(path: source.path, bytes: source.sectorBytes, ofPool: sectorBytes)
    }
    try PoolReserve.check(pool.catalog, pool.operations.poolStatus(pool.device))

    filled = FilledPool(pool.catalog)
    try pool.change { catalog in
      volume.thinID = try catalog.takeThinID()
      catalog.doomed.append(volume.thinID)
    }
    self.volume = volume
    try pool.operations.createThin(pool: pool.device, id: volume.thinID)
    try pool.operations.create(
      volume.copyDevice, uuid: pool.catalog.uuid(ofDevice: volume.copyDevice), table: [pool.table(of: volume)],
      readOnly: false)
    content = try access.open(volume.copyDevice, true)
  }

  /// Rounded up to the pool's blocks.
  private static func sectors(_ bytes: UInt64, in catalog: PoolCatalog) -> UInt64 {
    let block = catalog.blockSectors * 512
    return (bytes + block - 1) / block * catalog.blockSectors
  }

  // MARK: Bytes

  private static let pieceBytes = 4 << 20

  /// Copies all blocks but those of zeros: what was never written takes no room in the pool, and reads as zeros.
  ///
  /// - Parameter progress: told the bytes copied.
  func fill(_ progress: (_ bytes: UInt64) -> Void) throws {
    try forEachPiece(progress) { piece, _, offset in
      try source.content.read(piece, at: offset)
      try write(UnsafeRawBufferPointer(piece), at: offset)
    }
    try content?.sync()
  }

  /// Reads both disks.
  ///
  /// - Parameter progress: told the bytes compared.
  /// - Throws: ``DiskSourceError/differs(path:offset:)``.
  func compare(_ progress: (_ bytes: UInt64) -> Void) throws {
    try forEachPiece(progress) { piece, copy, offset in
      try source.content.read(piece, at: offset)
      try content?.read(copy, at: offset)
      guard memcmp(piece.baseAddress!, copy.baseAddress!, piece.count) == 0 else {
        throw DiskSourceError.differs(path: source.path, offset: offset)
      }
    }
  }

  /// Calls `body` with two buffers of the same size for each piece of the disk.
  private func forEachPiece(
    _ progress: (_ bytes: UInt64) -> Void,
    _ body: (_ one: UnsafeMutableRawBufferPointer, _ other: UnsafeMutableRawBufferPointer, _ offset: UInt64) throws ->
      Void
  ) throws {
    // Direct I/O wants aligned memory.
    let one = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.pieceBytes, alignment: 4096)
    let other = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.pieceBytes, alignment: 4096)
    defer { for buffer in [one, other] { buffer.deallocate() } }
    var offset: UInt64 = 0
    while offset < source.sizeBytes {
      try cancellation.check()
      let count = Int(min(UInt64(Self.pieceBytes), source.sizeBytes - offset))
      try body(
        UnsafeMutableRawBufferPointer(rebasing: one[..<count]),
        UnsafeMutableRawBufferPointer(rebasing: other[..<count]),
        offset)
      offset += UInt64(count)
      progress(offset)
    }
  }

  /// Blocks that follow each other are written at once.
  private func write(_ piece: UnsafeRawBufferPointer, at offset: UInt64) throws {
    guard var pool = filled, let content else { return }
    defer { filled = pool }
    let block = Int(pool.blockBytes)
    var start = 0
    while start < piece.count {
      var end = start
      while end < piece.count, !Self.isZero(piece[end..<min(end + block, piece.count)]) {
        end = min(end + block, piece.count)
      }
      if end > start {
        let place = offset + UInt64(start)
        try pool.give(place..<(offset + UInt64(end)), pools.operations)
        try content.write(UnsafeRawBufferPointer(rebasing: piece[start..<end]), at: place)
      }
      // The block that ended the run is one of zeros.
      start = end + block
    }
  }

  private static func isZero(_ bytes: Slice<UnsafeRawBufferPointer>) -> Bool {
    let block = UnsafeRawBufferPointer(rebasing: bytes)
    guard let start = block.baseAddress, block[0] == 0 else { return false }
    // Each byte is the one before it.
    return memcmp(start, start + 1, block.count - 1) == 0
  }

  // MARK: The end

  /// Makes the disk the guest's.
  ///
  /// - Returns: the path that its configuration is to name.
  func publish() throws -> String {
    guard let volume, let filled else { throw DiskError.outOfOrder(call: "publish") }
    let pool = try pools.waiting(for: cancellation).open(filled.catalog.name)
    // A guest that was started meanwhile asked nobody.
    try source.requireUnused(pools, copiedInto: pool.name)
    try Disks(pools).requireFree(volume.device, for: volume.guest)
    try cancellation.check()
    content = nil
    try pool.begin { catalog in
      catalog.doomed.removeAll { $0 == volume.thinID }
      return .createVolume(volume: volume)
    }
    try pool.operations.remove(volume.copyDevice)
    try pool.commit()
    return "/dev/mapper/\(volume.device)"
  }

  func abandon() {
    content = nil
    // What cannot be taken back now is taken back by the pool's next user.
    if volume != nil, let filled { _ = try? pools.ensureActive(filled.catalog.name) }
  }
}

extension PoolCatalog.Volume {
  fileprivate static let copySuffix = "-copy"

  /// Shows the volume while it is filled. No disk of a guest is called so, for theirs end with a virtual device's name, and no pool.
  fileprivate var copyDevice: String { device + Self.copySuffix }
}

extension PoolCatalog {
  /// Whether a device shows a disk of this pool that is being copied.
  func isCopy(_ info: DeviceInfo) -> Bool {
    info.name.hasSuffix(Volume.copySuffix) && info.uuid == uuid(ofDevice: info.name)
  }
}

extension OpenPool {
  /// Takes away the devices of copies whose process died: one that lives has its device open, except while it holds the pool's lock.
  func removeDeadCopies() throws {
    guard !catalog.doomed.isEmpty else { return }
    for (name, _) in try operations.list() {
      guard let info = try operations.info(name), catalog.isCopy(info), info.openCount == 0 else { continue }
      try operations.remove(name)
    }
  }
}
