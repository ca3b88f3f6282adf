import EpochStore
import Glibc
import MigrationStream

extension Engine {
  /// Makes an epoch in this store of a file: of a bundle that was exported from another, or of what `xl save` wrote. It may come through a pipe.
  ///
  /// - Parameters:
  ///   - file: what to call it in messages.
  ///   - pool: where disks go that no pool has epochs of; nil for the only one.
  ///   - name: what to call the guest of a file of `xl save`.
  ///   - cancellation: heard all the time.
  /// - Throws: ``CarryError``, `StoreError`, `PoolError`, ``CheckpointError/interrupted``; nothing is left then.
  public func importEpoch(
    from descriptor: Int32, file: String, pool: String? = nil, name: String? = nil,
    cancellation: TakeCancellation = TakeCancellation(), progress: @escaping (_ bytes: UInt64) -> Void = { _ in }
  ) throws -> ImportedEpoch {
    try importEpoch(
      from: descriptor, file: file, pool: pool, name: name, pools: { try pools() }, access: .kernel,
      cancellation: cancellation, progress: progress)
  }

  func importEpoch(
    from descriptor: Int32, file: String, pool: String? = nil, name: String? = nil,
    pools: @escaping () throws -> Pools, access: DiskAccess, tools: [String] = LegacyStream.tools,
    cancellation: TakeCancellation = TakeCancellation(), progress: @escaping (_ bytes: UInt64) -> Void = { _ in }
  ) throws -> ImportedEpoch {
    do {
      return try readEpoch(
        descriptor, file: file, pool: pool, name: name, pools: pools, access: access, tools: tools, cancellation,
        progress)
    } catch {
      // What it cuts short is no broken file.
      try cancellation.check()
      throw error
    }
  }

  private func readEpoch(
    _ descriptor: Int32, file: String, pool: String?, name: String?, pools: @escaping () throws -> Pools,
    access: DiskAccess, tools: [String], _ cancellation: TakeCancellation,
    _ progress: @escaping (_ bytes: UInt64) -> Void
  ) throws -> ImportedEpoch {
    var source = PrefixedSource([], descriptor, cancellation)
    var start = [UInt8](repeating: 0, count: XLFileStart.length)
    let count = try start.withUnsafeMutableBytes { try source.read(into: $0) }
    start.removeLast(start.count - count)
    if BundleFormat.isBundle(start) {
      guard name == nil else {
        throw CarryError.cannotHold(
          file: file, "--name is for files of xl save; rename the guest afterwards (ckpt rename)")
      }
      return try importBundle(
        DescriptorInput(start, descriptor, cancellation), file: file, pool: pool, pools: pools, access: access,
        cancellation, progress)
    }
    guard let save = XLFileStart(start) else { throw CarryError.notKnown(file: file) }
    if let name { try GuestName.check(name) }
    let reading = SaveImport(
      into: try store(), file: file, name: name, time: Self.time(of: descriptor),
      disks: { uuid in
        guard !poolNames.isEmpty, let pools = try? pools() else { return nil }
        return DiskHistory(pools, guestUUID: uuid)
      }, cancellation: cancellation, progress: progress)
    guard save.isLegacy else { return try reading.run(PrefixedSource(start, descriptor, cancellation)) }
    return try importLegacy(reading, start, save, descriptor, file: file, tools: tools, cancellation)
  }

  private func importBundle(
    _ input: DescriptorInput, file: String, pool: String?, pools: @escaping () throws -> Pools, access: DiskAccess,
    _ cancellation: TakeCancellation, _ progress: @escaping (_ bytes: UInt64) -> Void
  ) throws -> ImportedEpoch {
    let reader: BundleReader
    do { reader = try BundleReader(read: input.read) } catch let error as BundleError {
      throw CarryError.bundle(file: file, error)
    }
    let (folder, isNew) = try store().folderForImport(uuid: reader.header.uuid)
    let lock = try folder.lock(.exclusive)
    defer { _ = lock }
    // What killed takes and imports left would be in the way.
    try folder.discardUnpublished()
    // As it was before this one: what pools have above it is not of this folder.
    let used = try folder.highestUsedNumber()
    if !poolNames.isEmpty {
      let history = DiskHistory(try pools(), guestUUID: folder.uuid)
      let published = Set(try folder.overview().allNumbers)
      try history.markUnknown(published: published, used: used)
      // Under one number they would be taken for the imported epoch's, and go with it.
      let (unknown, number) = (try history.diskOnlyEpochs(published: published, used: used), reader.header.epoch.number)
      if let others = unknown.first(where: { $0.epochs.contains(number) }) {
        throw CarryError.cannotHold(file: file, others.obstacle(to: number))
      }
    }
    let work = BundleImport(
      reader, into: folder, file: file, pool: pool, pools: { try Self.swept(pools(), folder, used: used) },
      access: access,
      cancellation: cancellation, progress: progress)
    do { return try work.run() } catch {
      if isNew { folder.removeIfEmpty() }
      throw error
    }
  }

  /// The pools, without what killed imports of the guest left in them.
  private static func swept(_ pools: Pools, _ folder: GuestFolder, used: Int) throws -> Pools {
    _ = try EpochViews(pools: pools).removeAbandoned(of: folder.uuid)
    try DiskHistory(pools, guestUUID: folder.uuid).forgetUnpublished(
      published: Set(folder.overview().allNumbers), used: used)
    return pools
  }

  private func importLegacy(
    _ reading: SaveImport, _ start: [UInt8], _ save: XLFileStart, _ descriptor: Int32, file: String,
    tools: [String], _ cancellation: TakeCancellation
  ) throws -> ImportedEpoch {
    guard isRegular(descriptor) else {
      throw CarryError.legacy(file: file, "it cannot come through a pipe; name the file")
    }
    let config = try Self.configuration(descriptor, save, file: file)
    guard lseek(descriptor, off_t(XLFileStart.length + save.configLength), SEEK_SET) >= 0 else {
      throw PoolError.io(operation: "read", path: file, errno: errno)
    }
    let stream = try LegacyStream(descriptor, file: file, isPV: Self.isPV(config, file: file), tools: tools)
    let head = XLFileStart.modern(start) + config
    let read = Result { try reading.run(PrefixedSource(head, stream.output, cancellation)) }
    let end = try stream.finish()
    // What we refuse ends the tool as well, which then is not the cause.
    guard case .failure = read, reading.wasBroken, end.status != 0 else { return try read.get() }
    throw CarryError.legacy(
      file: file, "\(stream.tool) failed with status \(end.status): \(Command.lastLine(end.errors))")
  }

  /// All of a legacy file's configuration.
  private static func configuration(_ descriptor: Int32, _ save: XLFileStart, file: String) throws -> [UInt8] {
    guard save.hasJSON else {
      throw CarryError.legacy(file: file, "its configuration is older than libxl's JSON; restore it with that Xen")
    }
    var json = [UInt8](repeating: 0, count: save.configLength)
    let count = json.withUnsafeMutableBytes { pread(descriptor, $0.baseAddress, $0.count, off_t(XLFileStart.length)) }
    guard count == json.count else { throw CarryError.nonsense(file: file, "it ends in its configuration") }
    return json
  }

  private static func isPV(_ config: [UInt8], file: String) throws -> Bool {
    do { return try XLConfig(json: Array(config.prefix { $0 != 0 })).type == .pv } catch {
      throw CarryError.nonsense(file: file, "\(error)")
    }
  }

  /// When a file was written, which for one of `xl save` is when its guest stood still; now, for a pipe.
  private static func time(of descriptor: Int32) -> EpochTime {
    var status = stat()
    guard isRegular(descriptor), fstat(descriptor, &status) == 0 else { return .now }
    return EpochTime(milliseconds: Int64(status.st_mtim.tv_sec) * 1000 + Int64(status.st_mtim.tv_nsec) / 1_000_000)
  }
}

extension EpochStore {
  /// A guest's folder, and whether it had none before.
  func folderForImport(uuid: String) throws -> (GuestFolder, isNew: Bool) {
    if let folder = try? folder(uuid: uuid, create: false) { return (folder, false) }
    return (try folder(uuid: uuid, create: true), true)
  }
}
