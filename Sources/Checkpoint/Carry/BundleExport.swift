import EpochStore
import MigrationStream

/// Writes one epoch as a bundle: all of it, or what differs from an older one. The caller holds the folder's lock, shared.
///
/// What it writes follows from the epochs alone, which do not change: so it can go on with a bundle that another run began.
struct BundleExport {
  let reader: EpochReader
  let base: EpochReader?
  /// nil on a host without device-mapper: then no disk can come.
  let pools: () throws -> Pools
  let access: DiskAccess
  let threads: Int
  /// Told again and again of what was written; ends it by throwing.
  let progress: (_ what: String, _ bytes: UInt64) throws -> Void

  private var manifest: EpochManifest { reader.manifest }

  /// What the bundle begins with.
  ///
  /// - Throws: `StoreError.damaged` for a manifest without identity.
  func header() throws -> BundleHeader {
    BundleHeader(
      uuid: manifest.uuid, epoch: try Self.name(manifest), base: try base.map { try Self.name($0.manifest) })
  }

  static func name(_ manifest: EpochManifest) throws -> BundleHeader.Epoch {
    guard let identity = manifest.identity else {
      throw StoreError.damaged(path: manifest.file, what: "its manifest does not tell which epoch it is")
    }
    return BundleHeader.Epoch(number: manifest.epoch, identity: identity)
  }

  /// What the bundle tells of itself, decided before anything is written.
  ///
  /// - Throws: `DiskError.noSuchEpoch` when a pool does not have the epoch's disks any more.
  func description(_ marks: EpochMarks) throws -> BundleDescription {
    let disks = try manifest.disks.map { disk -> BundleDescription.Carried in
      guard disk.thinID != nil else { return .nothing }
      guard try isHeld(disk, of: manifest) else {
        throw DiskError.noSuchEpoch(guest: manifest.guest, epoch: manifest.epoch)
      }
      return try older(disk) == nil ? .whole : .changes
    }
    return BundleDescription(manifest: manifest, marks: marks, disks: disks)
  }

  /// - Throws: ``CarryError/cannotResume(file:_:)`` when what another run began with is not to be gone on with now.
  func checkGoesOn(_ begun: BundleDescription, file: String) throws {
    func refused(_ why: String) -> CarryError { .cannotResume(file: file, why) }
    guard begun.manifest.guest == manifest.guest else {
      throw refused("the guest was renamed since: it is called '\(begun.manifest.guest)' in it")
    }
    guard begun.disks.count == manifest.disks.count else { throw refused("it describes other disks") }
    for (disk, carried) in zip(manifest.disks, begun.disks) where carried == .changes {
      guard try older(disk) != nil else {
        throw refused("disk \(disk.vdev) comes as changes of one that its pool does not have any more")
      }
    }
  }

  /// Writes everything that is not there yet, to the end.
  ///
  /// - Parameter description: what it began with, or begins with now.
  func write(_ description: BundleDescription, to writer: BundleWriter) throws {
    if !writer.place.hasDescription { try writer.add(description: description.encoded()) }
    try writeRecords(to: writer)
    try writePages(to: writer)
    for (number, carried) in description.disks.enumerated() where carried != .nothing && number >= writer.place.disk {
      try writeDisk(number, whole: carried == .whole, to: writer)
    }
    try writer.end()
  }

  /// The base's disk, if what changed since can be told.
  private func older(_ disk: EpochManifest.Disk) throws -> EpochManifest.Disk? {
    guard let base, let old = base.manifest.disks.first(where: { $0.vdev == disk.vdev }), old.thinID != nil,
      old.pool == disk.pool, old.sizeBytes == disk.sizeBytes, try isHeld(old, of: base.manifest)
    else { return nil }
    return old
  }

  private func isHeld(_ disk: EpochManifest.Disk, of manifest: EpochManifest) throws -> Bool {
    try DiskHistory(pools(), guestUUID: manifest.uuid).holds(disk, of: manifest.epoch)
  }

  private func writeRecords(to writer: BundleWriter) throws {
    let bytes = CarriedRecords.encode(try namedRecords())
    guard UInt64(bytes.count) <= BundleFormat.recordsLimit else {
      throw StoreError.invalid(
        "the records of epoch \(manifest.epoch) are too large for a bundle: \(bytes.count) bytes")
    }
    try bytes.withUnsafeBytes { buffer in
      while Int(writer.place.records) < buffer.count {
        let start = Int(writer.place.records)
        let end = min(buffer.count, start + BundleFormat.dataBytes)
        try writer.add(records: UnsafeRawBufferPointer(rebasing: buffer[start..<end]))
        try progress("state", writer.offset)
      }
    }
  }

  /// A guest that was given another name since is called so where it goes.
  private func namedRecords() throws -> [StoredRecord] {
    let records = try reader.records()
    guard let name = reader.givenName else { return records }
    return try records.map { record in
      guard record.type == GuestRecords.configuration else { return record }
      return StoredRecord(type: record.type, body: try GuestRecords.rename(record.body, to: name))
    }
  }

  private func writePages(to writer: BundleWriter) throws {
    func goOn() throws { try progress("memory", writer.offset) }
    try reader.forEachCarriedPage(since: base, from: writer.place.pfn, threads: threads, goOn) { pfn, type, page in
      try writer.add(page: page, pfn: pfn, type: type)
      try goOn()
    }
    try writer.endPages()
  }

  private func writeDisk(_ number: Int, whole: Bool, to writer: BundleWriter) throws {
    let disk = manifest.disks[number]
    guard let id = disk.thinID, let old = try whole ? id : older(disk)?.thinID else {
      throw DiskError.noSuchEpoch(guest: manifest.guest, epoch: manifest.epoch)
    }
    let pools = try pools()
    let (output, blockBytes) = try pools.thinDelta(disk.pool, from: old, to: id)
    guard
      let ranges = CarriedRanges(
        thinDelta: output, blockBytes: blockBytes, size: disk.sizeBytes, whole: whole,
        hasOrigin: try hasOrigin(disk, pools))
    else { throw Pools.notUnderstood }
    let parts = ranges.from(writer.place.disk == number ? writer.place.diskOffset : 0)
    guard !parts.isEmpty else { return }
    try withDevice(of: disk, id, pools) { content in
      for part in parts { try write(part, of: number, content, to: writer) }
    }
  }

  /// An adopted disk, or a clone of one, reads what it has no block for from a volume of LVM.
  private func hasOrigin(_ disk: EpochManifest.Disk, _ pools: Pools) throws -> Bool {
    try pools.catalogs().contains { catalog in
      let devices = catalog.snapshots(manifest.uuid, manifest.epoch).filter { $0.vdev == disk.vdev }.map(\.device)
      return catalog.volumes.contains { devices.contains($0.device) && $0.hasOrigin }
    }
  }

  private func withDevice(
    of disk: EpochManifest.Disk, _ id: UInt32, _ pools: Pools, _ body: (any DiskContent) throws -> Void
  ) throws {
    // The pool is only held while the device is made: takes of its guests go on.
    var pool: OpenPool? = try pools.open(disk.pool)
    let snapshot = pool?.catalog.snapshots(manifest.uuid, manifest.epoch).first { $0.thinID == id }
    guard let snapshot,
      let device = try pool.map({ try CarriedDevices(pools: pools).make(snapshot, in: $0, readOnly: true) })
    else { throw DiskError.noSuchEpoch(guest: manifest.guest, epoch: manifest.epoch) }
    pool = nil
    // What cannot be taken away now is found by `ckpt recover`; the first error is the one to report.
    defer { try? pools.operations.remove(device) }
    let content = try access.open(device, false)
    try withExtendedLifetime(content) { try body(content) }
  }

  private func write(
    _ part: CarriedRanges.Part, of number: Int, _ content: any DiskContent, to writer: BundleWriter
  ) throws {
    guard part.isMapped else { return try writer.add(unmapped: part.range, disk: number) }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: BundleFormat.dataBytes, alignment: 4096)
    defer { buffer.deallocate() }
    var offset = part.range.lowerBound
    while offset < part.range.upperBound {
      let count = Int(min(UInt64(buffer.count), part.range.upperBound - offset))
      let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
      try content.read(bytes, at: offset)
      try writer.add(data: UnsafeRawBufferPointer(bytes), disk: number, at: offset)
      offset += UInt64(count)
      try progress("disk \(manifest.disks[number].vdev)", writer.offset)
    }
  }
}

extension GuestRecords {
  /// The record of a configuration, with another name in it.
  static func rename(_ configuration: [UInt8], to name: String) throws -> [UInt8] {
    var config = try XLConfig(json: configuration)
    guard config.name != name else { return configuration }
    config.rename(to: name)
    return config.encoded()
  }
}
