public import EpochStore
import Glibc

/// A bundle that was written.
public struct ExportedBundle: Sendable {
  public let manifest: EpochManifest
  public let base: Int?
  /// Of the whole bundle.
  public let bytes: UInt64
  /// What of them disks take.
  public let diskFileBytes: UInt64
  /// Bytes that were there already.
  public let resumedAt: UInt64?
  public let totals: BundleTotals
}

extension Engine {
  /// Writes an epoch as a bundle, memory and disks; to a pipe as well as to a file.
  ///
  /// - Parameters:
  ///   - since: an older epoch of the guest: only what differs from it is written.
  ///   - file: what to call it in messages.
  ///   - resume: the descriptor is of a file, open to read and write, with what an earlier export got done: go on behind its last sound
  ///     chunk.
  ///   - cancellation: heard all the time.
  /// - Throws: ``CarryError``, `StoreError`, `PoolError`, `DiskError.noSuchEpoch`, ``CheckpointError/interrupted``.
  public func exportBundle(
    _ guest: String, epoch: EpochReference, since: EpochReference?, to descriptor: Int32, file: String,
    resume: Bool = false, cancellation: TakeCancellation = TakeCancellation(),
    progress: @escaping (_ what: String, _ bytes: UInt64) -> Void = { _, _ in }
  ) throws -> ExportedBundle {
    try exportBundle(
      guest, epoch: epoch, since: since, to: descriptor, file: file, resume: resume,
      pools: { try pools().waiting(for: cancellation) }, access: .kernel, cancellation: cancellation,
      progress: progress)
  }

  func exportBundle(
    _ guest: String, epoch: EpochReference, since: EpochReference?, to descriptor: Int32, file: String,
    resume: Bool = false, pools: @escaping () throws -> Pools, access: DiskAccess,
    cancellation: TakeCancellation = TakeCancellation(),
    progress: @escaping (_ what: String, _ bytes: UInt64) -> Void = { _, _ in }
  ) throws -> ExportedBundle {
    let folder = try folder(of: guest)
    let lock = try folder.lock(.shared)
    defer { _ = lock }
    let reader = try folder.open(epoch: resolve(epoch, in: folder, of: guest))
    let base = try since.map { try folder.open(epoch: resolve($0, in: folder, of: guest)) }
    if let base, base.manifest.epoch >= reader.manifest.epoch {
      throw CarryError.notOlder(guest: guest, epoch: reader.manifest.epoch, base: base.manifest.epoch)
    }
    let export = BundleExport(
      reader: reader, base: base, pools: pools, access: access, threads: EpochStore.processors,
      progress: { what, bytes in
        try cancellation.check()
        progress(what, bytes)
      })
    if reader.manifest.disks.contains(where: { $0.thinID != nil }) {
      try CarriedDevices(pools: pools()).removeDead(of: folder.uuid)
    }
    let marks = (try? folder.marks(reader.manifest.epoch)) ?? .unmarked
    let begun = try resume ? BegunBundle.find(descriptor, file: file, header: export.header(), cancellation) : nil
    // The writer goes on counting where the reader stopped.
    let resumedAt = begun?.reader.offset
    let writer: BundleWriter
    do {
      writer = try Self.write(export, marks, begun, to: descriptor, file: file, resume: resume, cancellation)
    } catch {
      // Ctrl-C ends tools that are at work here as well.
      try cancellation.check()
      throw error
    }
    return ExportedBundle(
      manifest: reader.manifest, base: base?.manifest.epoch, bytes: writer.offset,
      diskFileBytes: writer.diskFileBytes, resumedAt: resumedAt,
      totals: writer.totals)
  }

  /// Writes what is not there yet, and has all of it on the disk.
  private static func write(
    _ export: BundleExport, _ marks: EpochMarks, _ begun: BegunBundle?, to descriptor: Int32, file: String,
    resume: Bool, _ cancellation: TakeCancellation
  ) throws -> BundleWriter {
    var description: BundleDescription?
    if begun?.reader.isEnded != true {
      description = try export.description(marks)
      if let told = begun?.description {
        try export.checkGoesOn(told, file: file)
        description = told
      }
    }
    if resume { try cut(descriptor, at: begun?.reader.offset ?? 0, file: file) }
    let output = DescriptorOutput(descriptor, cancellation)
    let writer =
      try begun.map { BundleWriter(continuing: $0.reader, write: output.write) }
      ?? BundleWriter(export.header(), write: output.write)
    do {
      if let description { try export.write(description, to: writer) }
      try output.flush()
    } catch {
      // What there is, is worth something to a resume.
      if isRegular(descriptor) { try? output.flush() }
      if begun != nil, let error = error as? BundleError { throw CarryError.cannotResume(file: file, "\(error)") }
      throw error
    }
    let code = syncFile(descriptor)
    guard code == 0 else { throw PoolError.io(operation: "fsync", path: file, errno: code) }
    return writer
  }

  private static func cut(_ descriptor: Int32, at offset: UInt64, file: String) throws {
    let end = off_t(offset)
    guard ftruncate(descriptor, end) == 0, lseek(descriptor, end, SEEK_SET) == end else {
      throw PoolError.io(operation: "truncate", path: file, errno: errno)
    }
  }
}

/// True for a file that can be read again and cut.
func isRegular(_ descriptor: Int32) -> Bool {
  var status = stat()
  return fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
}

/// Has what was written to a regular file on its disk: some file systems tell only now that they could not keep it.
///
/// - Returns: the kernel's error number; 0 when it is, and for anything else than a file.
func syncFile(_ descriptor: Int32) -> Int32 { isRegular(descriptor) && fsync(descriptor) != 0 ? errno : 0 }
