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

  /// What interrupted takes and removals left, by name, as ``discardUnpublished()`` would remove it. A take under way has such
  /// files as well.
  public func unpublished() throws(StoreError) -> [String] {
    let names = try names()
    let published = Set(names.filter { $0.suffix == .manifest }.map(\.epoch))
    let loose = names.filter { $0.suffix.isPartial || !published.contains($0.epoch) }
    guard !loose.isEmpty else { return [] }
    let needs = PublishedNeeds(self, published)
    return loose.filter { $0.suffix != .file || !needs.contains($0.epoch) }.map { EpochName.of($0.epoch, $0.suffix) }
      .sorted()
  }
}

extension EpochStore {
  /// Bytes of the disk that the folders of all guests have.
  public func diskBytes() throws(StoreError) -> UInt64 {
    var bytes: UInt64 = 0
    for folder in try folders() { bytes &+= try folder.diskBytes() }
    return bytes
  }

  /// What the store's file system has.
  public func fileSystem() throws(StoreError) -> FileSystemSpace { try FileSystemSpace(at: path) }
}
