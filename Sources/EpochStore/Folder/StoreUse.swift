import Glibc

/// The file system of a store, in bytes.
public struct FileSystemSpace: Hashable, Sendable {
  public var total: UInt64
  /// What we may still write.
  public var free: UInt64

  public init(total: UInt64, free: UInt64) { (self.total, self.free) = (total, free) }

  init(at path: String) throws(StoreError) {
    var status = statvfs()
    guard statvfs(path, &status) == 0 else {
      throw .system(operation: "examine the file system of", path: path, errno: errno)
    }
    self.init(
      total: UInt64(status.f_blocks) * UInt64(status.f_frsize), free: UInt64(status.f_bavail) * UInt64(status.f_frsize))
  }
}

extension GuestFolder {
  /// Bytes of the disk that everything in the guest's folder has, takes under way among it.
  public func diskBytes() throws(StoreError) -> UInt64 {
    try StoreName.list(path).reduce(0) { $0 &+ StoreName.diskBytes(path + "/" + $1) }
  }

  /// What the folder's file system has.
  public func fileSystem() throws(StoreError) -> FileSystemSpace { try FileSystemSpace(at: path) }
}

extension EpochStore {
  /// Bytes of the disk that the folders of all guests have, as far as they can be read.
  public func diskBytes() throws(StoreError) -> UInt64 {
    let survey = try survey { folder throws(StoreError) in try folder.diskBytes() }
    return survey.values.reduce(0, &+)
  }

  /// What the store's file system has.
  public func fileSystem() throws(StoreError) -> FileSystemSpace { try FileSystemSpace(at: path) }
}

/// What a guest's folder holds, by one listing of it.
public struct FolderContent: Sendable {
  public let overview: EpochOverview
  /// Bytes of the disk that everything in it has, takes under way among it.
  public let bytes: UInt64
  /// What interrupted takes and removals left, by name, as ``GuestFolder/discardUnpublished()`` would remove it. A take under
  /// way has such files as well.
  public let unpublished: [String]
}

extension GuestFolder {
  /// Looks at everything in the folder, once.
  public func content() throws(StoreError) -> FolderContent {
    var (names, bytes): ([(epoch: Int, suffix: EpochName.Suffix)], UInt64) = ([], 0)
    try StoreName.forEach(in: path) { name in
      let text = String(decoding: name, as: UTF8.self)
      if text == "." || text == ".." { return }
      bytes &+= StoreName.diskBytes(path + "/" + text)
      if let name = EpochName.parse(name) { names.append(name) }
    }
    let overview = try overview(of: names)
    return FolderContent(overview: overview, bytes: bytes, unpublished: unpublished(names, overview))
  }

  private func unpublished(_ names: [(epoch: Int, suffix: EpochName.Suffix)], _ overview: EpochOverview) -> [String] {
    let published = Set(overview.allNumbers)
    let needs = PublishedNeeds(overview)
    let loose = names.filter { $0.suffix.isPartial || !published.contains($0.epoch) }
    return loose.filter { $0.suffix != .file || !needs.contains($0.epoch) }.map { EpochName.of($0.epoch, $0.suffix) }
      .sorted()
  }
}
