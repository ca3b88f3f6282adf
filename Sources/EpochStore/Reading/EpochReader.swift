import CXXHash
import Glibc

/// Reads one published epoch, from its own file and from those of older epochs that its index names, and no others.
/// Opening checks header, trailer and index, and that every file needed is there; pages and records are checked
/// against their checksums each time they are read. The files are treated as hostile: whatever stands in them, the
/// answer is right or a `StoreError` that names the file.
public final class EpochReader {
  public let manifest: EpochManifest
  public let path: String

  let folder: GuestFolder
  let file: StoreFile
  let files: EpochFiles
  let trailer: EpochTrailer
  let index: EpochIndex

  init(folder: GuestFolder, manifest: EpochManifest) throws(StoreError) {
    self.folder = folder
    self.manifest = manifest
    path = folder.path + "/" + EpochName.file(manifest.epoch)
    do { file = try StoreFile.open(path, O_RDONLY) } catch {
      guard case .system(_, _, ENOENT) = error else { throw error }
      throw .damaged(path: path, what: "it is gone, though its manifest is there")
    }
    let size = try file.regularSize()
    guard size >= UInt64(EpochFormat.headerBytes + EpochFormat.trailerBytes) else {
      throw .damaged(path: path, what: "it is too short")
    }
    let end = try file.read(count: EpochFormat.trailerBytes, at: size - UInt64(EpochFormat.trailerBytes))
    trailer = try EpochTrailer(decoding: end, fileBytes: size, path: path)
    guard ManifestFile.hexadecimal(trailer.hash) == manifest.fileHash, size == manifest.bytes,
      trailer.dataPages == UInt64(exactly: manifest.pages), trailer.zeroPages == UInt64(exactly: manifest.zeroPages)
    else { throw .damaged(path: path, what: "it is not the file that its manifest describes") }
    let header = EpochHeader(uuid: folder.uuid, epoch: manifest.epoch)
    guard try file.read(count: EpochFormat.headerBytes, at: 0) == header.encoded,
      trailer.headerHash == header.hash, Int(trailer.epoch) == manifest.epoch
    else { throw .damaged(path: path, what: "its header is not that of epoch \(manifest.epoch)") }
    index = try EpochIndex(file: file, trailer: trailer)
    files = EpochFiles(folder: folder, epoch: manifest.epoch, file: file)
    guard index.needs.map(Int.init) == manifest.needs else {
      throw .damaged(path: path, what: "it needs other files than its manifest says")
    }
    for epoch in index.needs { _ = try files.file(epoch) }
  }

  /// The name that the guest was given after the epoch was taken; nil when it is called as it was.
  public var givenName: String? { folder.givenName(of: manifest.epoch) }
  /// Pages of the epoch, zero pages among them.
  public var pageCount: Int { manifest.pages + manifest.zeroPages }
  /// Pages that are all zero.
  public var zeroCount: Int { manifest.zeroPages }

  /// All records in the order in which they were appended, each checked.
  public func records() throws(StoreError) -> [StoredRecord] {
    var records: [StoredRecord] = []
    for (number, entry) in index.records.enumerated() {
      let body = try file.read(count: Int(entry.length), at: entry.offset)
      let hash = body.withUnsafeBytes { XXH3_64bits($0.baseAddress, $0.count) }
      guard hash == entry.hash else {
        throw .damaged(path: path, what: "record \(number) does not match its checksum")
      }
      records.append(StoredRecord(type: entry.type, body: body))
    }
    return records
  }
}
