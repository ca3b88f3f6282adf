import EpochStore
import MigrationStream

/// Makes an epoch of what `xl save` wrote: memory and CPU state. Disks are not in such a file.
///
/// Everything is in the file but the instant, for which the caller's guess is taken.
final class SaveImport {
  private let store: EpochStore
  private let file: String
  private let name: String?
  private let time: EpochTime
  /// Of a guest; nil where there are no pools.
  private let disks: (_ uuid: String) -> DiskHistory?
  private let cancellation: TakeCancellation
  private let progress: (_ bytes: UInt64) -> Void
  private var config: XLConfig?
  private var header: LibxcHeader?
  private var records: [StoredRecord] = []
  private var recordBytes: UInt64 = 0
  private var spread = ScatteredPages()
  private var folder: GuestFolder?
  private var isNew = false
  private var lock: FolderLock?
  private var writer: EpochWriter?
  private var pages: ImportedPages?
  /// The stream was cut, or was none.
  private(set) var wasBroken = false

  /// - Parameter name: what to call the guest; nil for its own name.
  init(
    into store: EpochStore, file: String, name: String?, time: EpochTime,
    disks: @escaping (_ uuid: String) -> DiskHistory?,
    cancellation: TakeCancellation, progress: @escaping (_ bytes: UInt64) -> Void
  ) {
    (self.store, self.file, self.name, self.time, self.disks) = (store, file, name, time, disks)
    (self.cancellation, self.progress) = (cancellation, progress)
  }

  func run(_ source: consuming PrefixedSource) throws -> ImportedEpoch {
    var reader = StreamReader(source)
    do {
      while let event = try reader.next() {
        try take(event)
        try cancellation.check()
        progress(reader.offset)
      }
      return try finish()
    } catch {
      writer?.abandon()
      if isNew { folder?.removeIfEmpty() }
      guard let error = error as? StreamError else { throw error }
      wasBroken = error.isOfTheStream
      throw CarryError.cannotHold(file: file, "\(error)")
    }
  }

  private func take(_ event: StreamEvent) throws {
    switch event {
    case .xlHeader(let json): try begin(json)
    case .libxcHeader(let header):
      guard (config?.type == .pv) == (header.kind == .pv) else { throw nonsense("its parts are of different guests") }
      self.header = header
    case .record(let record):
      // Written anew by who exports the epoch.
      if record.type != .staticDataEnd { try keep(StoredRecord(type: record.type.rawValue, body: record.body)) }
    case .pageData(let batch): try take(batch)
    case .emulator:
      throw CarryError.cannotHold(file: file, "it has the state of a device model, which no epoch can hold")
    case .libxlHeader, .libxcEnd, .libxlEnd: break
    }
  }

  private func keep(_ record: StoredRecord) throws {
    recordBytes += UInt64(CarriedRecords.headBytes + record.body.count)
    guard recordBytes <= BundleFormat.recordsLimit, records.count < EpochFormat.recordCountLimit else {
      throw nonsense("its records are too large")
    }
    records.append(record)
  }

  private func begin(_ json: [UInt8]) throws {
    var config: XLConfig
    do { config = try XLConfig(json: json) } catch { throw nonsense("\(error)") }
    guard config.type != .hvm else {
      throw CarryError.cannotHold(file: file, "'\(config.name)' is an HVM guest, which no epoch can hold")
    }
    if let name { config.rename(to: name) }
    guard CarriedName.isUsable(config.name) else {
      throw CarryError.cannotHold(file: file, "the name of its guest cannot be used; say another: --name NAME")
    }
    let folder: GuestFolder
    (folder, isNew) = try store.folderForImport(uuid: config.uuid)
    lock = try folder.lock(.exclusive)
    (self.config, self.folder) = (config, folder)
    try folder.discardUnpublished()
    let newest = try disks(folder.uuid)?.spareUnknown(
      published: Set(folder.overview().allNumbers), used: folder.highestUsedNumber())
    let number = try max(folder.nextEpochNumber(), (newest ?? 0) + 1)
    let writer = try folder.create(epoch: number, reserving: 0)
    (self.writer, pages) = (writer, ImportedPages(writer, threads: EpochStore.processors))
  }

  /// A page that the stream has twice is what it was last.
  private func take(_ batch: MigrationStream.PageBatch) throws {
    var gone: [UInt64] = []
    try batch.forEachEntry { entry, page in
      if entry.type.isPopulated {
        guard spread.admits(entry.pfn, of: pages?.count ?? 0) else { throw nonsense("its pages lie too far apart") }
        try pages?.add(entry.pfn, type: entry.type.carriesData ? entry.type.rawValue : 0, page)
      } else {
        gone.append(entry.pfn)
      }
    }
    try pages?.remove(gone)
  }

  private func finish() throws -> ImportedEpoch {
    guard let config, let header, let folder, let writer else { throw nonsense("it holds no guest") }
    try pages?.flush()
    let configuration = StoredRecord(type: GuestRecords.configuration, body: config.encoded())
    let kind: EpochManifest.Kind = header.kind == .pv ? .pv : .pvh
    let checked = try ImportedRecords([configuration] + records, uuid: folder.uuid, kind: kind, file: file)
    try checked.write(to: writer)
    let disks = config.disks.map { disk in
      DiskEpoch(
        vdev: disk.vdev, pool: "", thinID: nil, sizeBytes: 0, device: disk.path ?? "", readOnly: !disk.isWritable)
    }
    let manifest = try writer.publish(
      EpochManifest(
        guest: config.name, uuid: folder.uuid, epoch: writer.epoch, time: time, kind: kind,
        vcpus: Int(clamping: config.maximumVCPUs),
        memoryBytes: config.maximumKiB.multipliedReportingOverflow(by: 1024).partialValue,
        disks: disks, xenVersion: "\(header.xenMajor).\(header.xenMinor)"))
    try ImportVerification.run(manifest, in: folder, disks: nil, cancellation)
    return ImportedEpoch(
      manifest: manifest, base: nil, wasThere: false,
      totals: BundleTotals(pages: UInt64(manifest.pages + manifest.zeroPages)),
      notes: notes(manifest, folder))
  }

  private func notes(_ manifest: EpochManifest, _ folder: GuestFolder) -> [String] {
    var notes: [String] = []
    if !manifest.disks.isEmpty {
      let paths = manifest.disks.map { "\($0.vdev) at \($0.device)" }.joined(separator: ", ")
      notes.append(
        "its disks are not in a file of xl save; they have to be as they were when it was saved: \(paths)")
    }
    do {
      try folder.setMarks(EpochMarks(note: "imported from a file of xl save, without its disks"), of: manifest.epoch)
    } catch {
      notes.append("its note could not be kept: \(error)")
    }
    return notes
  }

  private func nonsense(_ what: String) -> CarryError { .nonsense(file: file, what) }
}

extension StreamError {
  /// Not of reading or writing it.
  fileprivate var isOfTheStream: Bool {
    switch self {
    case .truncated, .malformed: true
    default: false
    }
  }
}
