public import EpochStore
public import MigrationStream

/// Turns an epoch back into the stream that `xl restore` reads.
public struct EpochStream {
  let reader: EpochReader
  /// The guest's configuration as the epoch holds it, with room for all pages of the epoch, and under the name that the guest has
  /// in the store.
  public internal(set) var config: XLConfig
  private let records: [Record]

  /// Reads the epoch's records and checks that they can make a guest.
  ///
  /// - Throws: `StoreError` for a damaged file, ``CheckpointError/badEpoch(guest:epoch:_:)``.
  public init(_ reader: EpochReader) throws {
    self.reader = reader
    let stored = try reader.records()
    guard let config = stored.first(where: { $0.type == GuestRecords.configuration }) else {
      throw CheckpointError.badEpoch(
        guest: reader.manifest.guest, epoch: reader.manifest.epoch, "it holds no configuration")
    }
    self.config = try XLConfig(json: config.body)
    if let name = reader.givenName { self.config.rename(to: name) }
    self.config.raiseTarget(toKiB: UInt64(reader.pageCount * EpochFormat.pageSize) >> 10)
    records = stored.filter { $0.type != GuestRecords.configuration }.map {
      Record(type: RecordType(rawValue: $0.type), body: $0.body)
    }
  }

  /// Writes the whole stream: xl header, libxl layer, libxc layer, in the order that a plain restore demands.
  public func write<Sink: ByteSink & ~Copyable>(
    to writer: inout StreamWriter<Sink>, progress: (_ pages: Int) -> Void = { _ in }
  ) throws {
    let manifest = reader.manifest
    try writer.writeXLHeader(configJSON: config.encoded())
    try writer.beginLibxl()
    let release = manifest.xenVersion.split(separator: ".").compactMap { UInt32($0) }
    try writer.beginLibxc(
      kind: manifest.kind == .pv ? .pv : .hvm, xenMajor: release.first ?? 0,
      xenMinor: release.dropFirst().first ?? 0)
    for record in records where GuestRecords.staticTypes.contains(record.type) { try writer.write(record) }
    try writer.write(.staticDataEnd)
    for record in records where record.type == .x86PVP2MFrames { try writer.write(record) }
    // xl makes the domain while the first pages are read.
    try writer.flush()
    var pages = 0
    try reader.forEachBatch(pagesPerBatch: PageBatchSize.most, threads: EpochStore.processors) { batch in
      var entries: [PageEntry] = []
      entries.reserveCapacity(batch.pfns.count)
      for index in batch.pfns.indices {
        guard let type = MigrationStream.PageType(rawValue: batch.types[index]), type.carriesData else {
          throw CheckpointError.badEpoch(
            guest: manifest.guest, epoch: manifest.epoch, "page \(batch.pfns[index]) has no type that carries data")
        }
        entries.append(PageEntry(pfn: batch.pfns[index], type: type))
      }
      try writer.writePageData(entries, pages: batch.bytes)
      pages += entries.count
      progress(pages)
    }
    let late = records.filter { !GuestRecords.staticTypes.contains($0.type) && $0.type != .x86PVP2MFrames }
    for record in late { try writer.write(record) }
    try writer.endLibxc()
    try writer.endLibxl()
  }

  private enum PageBatchSize {
    /// libxc's own writer puts at most 1024 pages into a record.
    static let most = 1024
  }
}
