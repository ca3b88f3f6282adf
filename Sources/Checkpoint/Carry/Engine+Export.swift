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
  /// - Throws: ``CarryError``, `StoreError`, `PoolError`.
  public func exportBundle(
    _ guest: String, epoch: EpochReference, since: EpochReference?, to descriptor: Int32, file: String,
    resume: Bool = false, progress: @escaping (_ what: String, _ bytes: UInt64) -> Void = { _, _ in }
  ) throws -> ExportedBundle {
    try exportBundle(
      guest, epoch: epoch, since: since, to: descriptor, file: file, resume: resume, pools: { try pools() },
      access: .kernel, progress: progress)
  }

  func exportBundle(
    _ guest: String, epoch: EpochReference, since: EpochReference?, to descriptor: Int32, file: String,
    resume: Bool = false, pools: @escaping () throws -> Pools, access: DiskAccess,
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
      reader: reader, base: base, pools: pools, access: access, threads: EpochStore.processors, progress: progress)
    if reader.manifest.disks.contains(where: { $0.thinID != nil }) {
      try CarriedDevices(pools: pools()).removeDead(of: folder.uuid)
    }
    let found = resume ? try Self.whatIsThere(descriptor, file: file, header: export.header()) : nil
    let output = DescriptorOutput(descriptor)
    let writer =
      try found.map { BundleWriter(continuing: $0, write: output.write) }
      ?? BundleWriter(export.header(), write: output.write)
    let resumedAt = found?.offset
    if found?.isEnded != true {
      do {
        try export.write(to: writer, marks: (try? folder.marks(reader.manifest.epoch)) ?? .unmarked)
        try output.flush()
      } catch {
        // What there is, is worth something to a resume.
        try? output.flush()
        throw error
      }
    }
    if isRegular(descriptor), fsync(descriptor) != 0 {
      throw PoolError.io(operation: "fsync", path: file, errno: errno)
    }
    return ExportedBundle(
      manifest: reader.manifest, base: base?.manifest.epoch, bytes: writer.offset,
      diskFileBytes: writer.diskFileBytes, resumedAt: resumedAt,
      totals: writer.totals)
  }

  /// Reads a bundle up to its last sound chunk, and cuts it off there.
  ///
  /// - Returns: nil when there is nothing worth keeping; the file is empty then.
  private static func whatIsThere(_ descriptor: Int32, file: String, header: BundleHeader) throws -> BundleReader? {
    guard isRegular(descriptor) else { throw CarryError.cannotResume(file: file, "it is no regular file") }
    let input = DescriptorInput([], descriptor)
    var kept: BundleReader?
    do {
      let reader = try BundleReader(read: input.read)
      guard reader.header == header else {
        throw CarryError.cannotResume(file: file, "it is of another epoch, or builds on another")
      }
      kept = reader
      while try reader.next() != nil {}
    } catch let error as BundleError {
      // What is not even a header long may have been ours; anything else is somebody's.
      let isBegun = lseek(descriptor, 0, SEEK_END) < BundleFormat.headerBytes
      guard kept != nil || isBegun else { throw CarryError.cannotResume(file: file, "\(error)") }
    }
    let end = off_t(kept?.offset ?? 0)
    guard ftruncate(descriptor, end) == 0, lseek(descriptor, end, SEEK_SET) == end else {
      throw PoolError.io(operation: "truncate", path: file, errno: errno)
    }
    return kept
  }
}

/// True for a file that can be read again and cut.
func isRegular(_ descriptor: Int32) -> Bool {
  var status = stat()
  return fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
}
