import Glibc
import Synchronization

/// The files that an epoch's frames stand in: its own and those of older epochs, opened as they are needed and a
/// bounded number at a time. Safe from any thread.
final class EpochFiles: Sendable {
  /// A restore comes back to every file for each window of pages, and opening one costs more than reading a frame: a chain
  /// with more files than this is read more slowly. Others in the process want descriptors too.
  private let mostOpen: Int

  private let folder: GuestFolder
  private let own: UInt32
  private let ownFile: StoreFile
  private let ownHeader: [UInt8]
  private let open = Mutex(Open())

  private struct Open {
    var files: [UInt32: (file: StoreFile, used: Int)] = [:]
    var uses = 0
  }

  init(folder: GuestFolder, epoch: Int, file: StoreFile) {
    self.folder = folder
    own = UInt32(epoch)
    ownFile = file
    ownHeader = EpochHeader(uuid: folder.uuid, epoch: epoch).encoded
    var limit = rlimit()
    let isKnown = getrlimit(__rlimit_resource_t(7), &limit) == 0  // RLIMIT_NOFILE
    mostOpen = isKnown ? Int(min(limit.rlim_cur / 4, 256)) : 64
  }

  func path(_ epoch: UInt32) -> String { folder.path + "/" + EpochName.file(Int(epoch)) }

  /// What is wrong with a frame, told by its file, place and pages.
  func damaged(_ entry: PageEntry, _ what: String) -> StoreError {
    .damaged(
      path: path(entry.epoch), what: "the frame of pfn \(entry.group * 16) at byte \(entry.offset) \(what)")
  }

  /// The file of an epoch. What makes it unusable is told of by its path.
  func file(_ epoch: UInt32) throws(StoreError) -> StoreFile {
    if epoch == own { return ownFile }
    let known = open.withLock { open -> StoreFile? in
      guard let place = open.files.index(forKey: epoch) else { return nil }
      open.uses += 1
      open.files.values[place].used = open.uses
      return open.files.values[place].file
    }
    if let known { return known }
    let file = try openChecked(epoch)
    open.withLock { open in
      if open.files.count >= mostOpen, let oldest = open.files.min(by: { $0.value.used < $1.value.used }) {
        open.files[oldest.key] = nil
      }
      open.files[epoch] = (file, open.uses)
    }
    return file
  }

  /// Only header and kind: what else stands in the file is proved frame by frame, by the index that names them.
  private func openChecked(_ epoch: UInt32) throws(StoreError) -> StoreFile {
    let path = path(epoch)
    let file: StoreFile
    do { file = try StoreFile.open(path, O_RDONLY) } catch {
      guard case .system(_, _, ENOENT) = error else { throw error }
      throw .damaged(path: path, what: "it is gone, though epoch \(own) needs it")
    }
    // All headers of a guest are alike but for the number, and a restore checks hundreds of them.
    var header = ownHeader
    header.withUnsafeMutableBytes { $0.baseAddress.unsafelyUnwrapped.setLittle(EpochHeader.epochOffset, epoch) }
    guard try file.regularSize() >= UInt64(header.count), try file.read(count: header.count, at: 0) == header
    else { throw .damaged(path: path, what: "its header is not that of epoch \(epoch)") }
    return file
  }
}
