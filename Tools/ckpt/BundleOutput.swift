import Checkpoint
import EpochStore
import Glibc

/// The file that a bundle is exported to. What is in it when the export breaks off stays, for `--resume`.
struct BundleOutput {
  let file: String
  let resume: Bool
  let json: Bool

  func write(_ export: (Int32) throws -> ExportedBundle) throws {
    // The image holds the guest's secrets.
    let flags = resume ? O_RDWR : O_RDWR | O_CREAT | O_EXCL
    let descriptor = open(file, flags | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      let number = errno
      let hint = !resume && number == EEXIST ? "; go on with it: --resume" : ""
      throw UsageRefused(
        description: "cannot \(resume ? "open" : "make") \(file): \(String(cString: strerror(number)))\(hint)")
    }
    defer { close(descriptor) }
    do {
      let exported = try export(descriptor)
      // Its bytes are; the epoch may be removed as soon as this is acknowledged.
      try NewFile.syncName(of: file)
      try show(exported)
    } catch {
      Terminal.status("")
      throw leave(descriptor, error)
    }
  }

  /// An empty file is of no use to anybody.
  private func leave(_ descriptor: Int32, _ error: any Error) -> any Error {
    guard !(error is CarryError), lseek(descriptor, 0, SEEK_END) > 0 else {
      if !resume { unlink(file) }
      return error
    }
    let status = ExitStatus(error) ?? .failed
    return CarryError.stopped(
      file: file, cause: status == .interrupted ? "interrupted" : "\(error)", status: status)
  }

  private func show(_ exported: ExportedBundle) throws {
    if json { return try Terminal.printJSON(Report(exported, file: file)) }
    let base = exported.base.map { ", changes since epoch \($0)" } ?? ""
    let resumed = exported.resumedAt.map { ", \(Quantity.bytes($0)) of it were there" } ?? ""
    Terminal.say(
      "\(exported.manifest.guest): epoch \(exported.manifest.epoch)\(base) is in \(file) (\(Quantity.bytes(exported.bytes))\(resumed))"
    )
  }

  struct Report: Encodable {
    let file, guest, uuid: String
    let format = "bundle"
    let epoch: Int
    let base: Int?
    let bytes, diskFileBytes: UInt64
    let resumedAt: UInt64?
    let pages, gonePages, diskBytes, unmappedBytes: UInt64

    enum CodingKeys: String, CodingKey {
      case file, format, guest, uuid, epoch, base, bytes, pages
      case resumedAt = "resumed_at"
      case gonePages = "gone_pages"
      case diskBytes = "disk_bytes"
      case diskFileBytes = "disk_file_bytes"
      case unmappedBytes = "unmapped_bytes"
    }

    init(_ exported: ExportedBundle, file: String) {
      self.file = file
      (guest, uuid) = (exported.manifest.guest, exported.manifest.uuid)
      (epoch, base, bytes, resumedAt) = (exported.manifest.epoch, exported.base, exported.bytes, exported.resumedAt)
      diskFileBytes = exported.diskFileBytes
      (pages, gonePages) = (exported.totals.pages, exported.totals.gonePages)
      (diskBytes, unmappedBytes) = (exported.totals.diskBytes, exported.totals.unmappedBytes)
    }
  }
}
