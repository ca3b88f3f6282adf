public import EpochStore

/// An epoch that was imported.
public struct ImportedEpoch: Sendable {
  public let manifest: EpochManifest
  public let base: Int?
  /// It was there, the same; nothing was changed.
  public let wasThere: Bool
  public let totals: BundleTotals
  /// What somebody should know before it is restored.
  public let notes: [String]
}

/// Makes the epoch of a bundle in a guest's folder and in pools. The caller holds the folder's lock, exclusive.
///
/// Everything is staged first; the manifest comes last, as in a take.
final class BundleImport {
  private let reader: BundleReader
  private let folder: GuestFolder
  private let file: String
  private let pool: String?
  private let pools: () throws -> Pools
  private let access: DiskAccess
  private let cancellation: TakeCancellation
  private let progress: (_ bytes: UInt64) -> Void

  private var description: BundleDescription?
  private var writer: EpochWriter?
  private var pages: ImportedPages?
  private var disks: ImportedDisks?
  private var placed: [DiskEpoch] = []
  private var records: [UInt8] = []
  private var isPublished = false
  private var spread = PageSpread()

  private var header: BundleHeader { reader.header }

  init(
    _ reader: BundleReader, into folder: GuestFolder, file: String, pool: String?, pools: @escaping () throws -> Pools,
    access: DiskAccess, cancellation: TakeCancellation, progress: @escaping (_ bytes: UInt64) -> Void
  ) {
    (self.reader, self.folder, self.file, self.pool) = (reader, folder, file, pool)
    (self.pools, self.access, self.cancellation, self.progress) = (pools, access, cancellation, progress)
  }

  func run() throws -> ImportedEpoch {
    do { return try work() } catch {
      // Once it is published, only its verification may take it away.
      if !isPublished {
        writer?.abandon()
        disks?.abandon()
      }
      if let error = error as? BundleError { throw CarryError.bundle(file: file, error) }
      throw error
    }
  }

  private func work() throws -> ImportedEpoch {
    while let item = try reader.next() {
      switch item {
      case .description(let bytes): if let there = try begin(bytes) { return there }
      case .records(let bytes): records += bytes
      case .pages(let list): try take(list)
      case .data(let disk, let offset, let bytes): try disks(for: disk).write(bytes, disk: disk, at: offset)
      case .unmapped(let disk, let range): try disks(for: disk).clear(range, disk: disk)
      case .end: break
      }
      try cancellation.check()
      progress(reader.offset)
    }
    return try finish()
  }

  // MARK: The beginning

  /// - Returns: the epoch, if it is there already.
  private func begin(_ bytes: UnsafeRawBufferPointer) throws -> ImportedEpoch? {
    guard let description = BundleDescription(decoding: bytes, of: header) else {
      throw nonsense("its description makes no sense")
    }
    let manifest = description.manifest
    guard CarriedName.isUsable(manifest.guest) else { throw nonsense("the name of its guest cannot be used") }
    if let there = try epochThatIsThere(manifest) { return there }
    let base = try header.base.map { try self.base($0, manifest) }
    var ground: EpochBase?
    if let base {
      ground = try folder.base(epoch: base.epoch, threads: EpochStore.processors, mayGoOn: cancellation.check)
    }
    self.description = description
    let writer = try makeWriter(manifest, over: ground)
    self.writer = writer
    pages = ImportedPages(writer, threads: EpochStore.processors)
    spread = PageSpread(over: ground?.pageCount ?? 0)
    placed = try prepareDisks(description, base: base)
    return nil
  }

  private func makeWriter(_ manifest: EpochManifest, over base: EpochBase?) throws -> EpochWriter {
    let number = header.epoch.number
    // Where it was taken, pages of a whole one may stand in files of other epochs.
    let most =
      header.base != nil
      ? manifest.bytes
      : EpochFormat.worstCaseBytes(
        pages: manifest.pages, inherited: manifest.zeroPages, records: 64, recordBytes: Self.recordBytes)
    do { return try create(number, reserving: most, over: base) } catch StoreError.exists {
      throw CarryError.numberInUse(file: file, guest: manifest.guest, epoch: number)
    }
  }

  /// Room for all pages as they are is wanted, and not needed: they are compressed.
  private func create(_ number: Int, reserving most: UInt64, over base: EpochBase?) throws -> EpochWriter {
    guard let least = description?.manifest.bytes, least < most else {
      return try folder.create(imported: number, reserving: most, base: base)
    }
    do { return try folder.create(imported: number, reserving: most, base: base) } catch StoreError.full {
      return try folder.create(imported: number, reserving: least, base: base)
    }
  }

  /// Room for everything but pages: CPU state, configuration.
  private static let recordBytes = 4 << 20

  private func epochThatIsThere(_ manifest: EpochManifest) throws -> ImportedEpoch? {
    let there: EpochManifest
    do { there = try folder.manifest(header.epoch.number) } catch StoreError.notFound { return nil }
    guard there.identity == header.epoch.identity else {
      throw CarryError.otherEpoch(file: file, guest: manifest.guest, epoch: there.epoch)
    }
    if let damage = try damage(there) {
      throw CarryError.damagedHere(file: file, guest: there.guest, epoch: there.epoch, damage)
    }
    return ImportedEpoch(
      manifest: there, base: header.base?.number, wasThere: true, totals: reader.totals, notes: [])
  }

  /// What is known to be wrong with an epoch of this store, or found missing in its pools; nil for one that is as good as the bundle's.
  private func damage(_ there: EpochManifest) throws -> String? {
    if let verdict = try folder.verdict(there.epoch), verdict.isDamaged {
      return verdict.damage.first?.what ?? "it is damaged"
    }
    let disks = there.disks.filter { $0.thinID != nil }
    guard !disks.isEmpty else { return nil }
    let history = DiskHistory(try pools(), guestUUID: folder.uuid)
    return try disks.first { try !history.holds($0, of: there.epoch) }.map {
      "the snapshot of its disk \($0.vdev) is gone from pool \($0.pool)"
    }
  }

  /// - Throws: ``CarryError`` when the epoch that the bundle builds on is not here, or not to be trusted.
  private func base(_ wanted: BundleHeader.Epoch, _ manifest: EpochManifest) throws -> EpochManifest {
    let (guest, number) = (manifest.guest, wanted.number)
    let base: EpochManifest
    do { base = try folder.manifest(number) } catch StoreError.notFound {
      throw CarryError.noBase(file: file, guest: guest, epoch: manifest.epoch, base: number)
    }
    guard base.identity == wanted.identity else { throw CarryError.otherBase(file: file, guest: guest, base: number) }
    if try folder.verdict(number)?.isDamaged == true {
      throw CarryError.damagedBase(file: file, guest: guest, base: number)
    }
    return base
  }

  private func prepareDisks(_ description: BundleDescription, base: EpochManifest?) throws -> [DiskEpoch] {
    var disks = description.manifest.disks
    var wanted: [ImportedDisks.Wanted] = []
    for (number, carried) in description.disks.enumerated() {
      (disks[number].pool, disks[number].thinID) = ("", nil)
      guard carried != .nothing else { continue }
      try check(disks[number], against: disks[..<number])
      let old = carried == .changes ? base?.disks.first { $0.vdev == disks[number].vdev } : nil
      if carried == .changes, old?.thinID == nil || old?.sizeBytes != disks[number].sizeBytes {
        throw nonsense(
          "disk \(disks[number].vdev) comes as changes of a disk that epoch \(base?.epoch ?? 0) does not have")
      }
      wanted.append(.init(number: number, disk: disks[number], base: old))
    }
    guard !wanted.isEmpty else { return disks }
    let imported = ImportedDisks(try pools(), access, guestUUID: folder.uuid, epoch: header.epoch.number, file: file)
    self.disks = imported
    for (number, disk) in try imported.prepare(wanted, guest: description.manifest.guest, pool: pool) {
      disks[number] = disk
    }
    return disks
  }

  private func check(_ disk: DiskEpoch, against others: ArraySlice<DiskEpoch>) throws {
    guard disk.sizeBytes > 0, disk.sizeBytes <= Disks.largest, !others.contains(where: { $0.vdev == disk.vdev }) else {
      throw nonsense("it describes a disk that cannot be")
    }
  }

  // MARK: The content

  private func take(_ list: BundlePages) throws {
    var gone: [UInt64] = []
    try list.forEachPage { pfn, type, told, page in
      guard told != .gone else { return gone.append(pfn) }
      guard spread.admits(pfn) else { throw nonsense("its pages lie too far apart") }
      try pages?.add(pfn, type: type, page)
    }
    try pages?.remove(gone)
  }

  private func disks(for number: Int) throws -> ImportedDisks {
    guard let disks else { throw nonsense("it has bytes of a disk that does not come") }
    return disks
  }

  // MARK: The end

  private func finish() throws -> ImportedEpoch {
    guard let description, let writer else { throw nonsense("it describes no epoch") }
    let manifest = description.manifest
    guard let stored = CarriedRecords.decode(records) else { throw nonsense("its records make no sense") }
    var records = try ImportedRecords(stored, uuid: folder.uuid, kind: manifest.kind, file: file)
    try records.place(disks: placed)
    try pages?.flush()
    try records.write(to: writer)
    guard writer.pageCount == manifest.pages + manifest.zeroPages else {
      throw nonsense(
        "its epoch comes to \(writer.pageCount) pages instead of \(manifest.pages + manifest.zeroPages)")
    }
    try writer.seal()
    try disks?.commit()
    let published = try writer.publish(manifest.imported(identity: header.epoch.identity, disks: placed))
    isPublished = true
    try ImportVerification.run(published, in: folder, disks: disks, cancellation)
    return ImportedEpoch(
      manifest: published, base: header.base?.number, wasThere: false, totals: reader.totals,
      notes: notes(description, published))
  }

  private func notes(_ description: BundleDescription, _ published: EpochManifest) -> [String] {
    var notes = zip(placed, description.disks).filter { $1 == .nothing }.map { disk, _ in
      "disk \(disk.vdev) did not come; it has to be at \(disk.device)\(disk.isLeftOut ? ", as it was then," : "") "
        + "when the guest is restored"
    }
    do {
      if description.marks != .unmarked { try folder.setMarks(description.marks, of: published.epoch) }
    } catch { notes.append("its tags and note could not be kept: \(error)") }
    return notes
  }

  private func nonsense(_ what: String) -> CarryError { .nonsense(file: file, what) }
}
