import Glibc

/// The folder of a guest that was given up, until all of it is gone: under a name that is no guest's.
struct RemovedFolder {
  private static let prefix = ".removed-"
  private static let names = ["hashes", "takes", "freeze", "rollback", "name", "counter", "lock"]
  private static let files = names.map { $0 + EpochName.partial } + names

  let uuid: String
  let path: String
  private let store: String

  init(uuid: String, store: String) {
    (self.uuid, self.store) = (uuid, store)
    path = store + "/" + Self.prefix + uuid
  }

  /// What removals that were broken off left in a store, by uuid.
  static func all(in store: String) throws(StoreError) -> [RemovedFolder] {
    let uuids = try StoreName.list(store).filter { $0.hasPrefix(prefix) }.map { String($0.dropFirst(prefix.count)) }
    return uuids.filter(EpochStore.isCanonical(uuid:)).sorted().map { RemovedFolder(uuid: $0, store: store) }
  }

  /// Whether a file of this name in a guest's folder is ours, and no epoch's.
  static func isOurs(_ file: String) -> Bool { files.contains(file) }

  /// Removes it with its files. Harmless when it is gone already, or another process does the same.
  func discard() throws(StoreError) {
    for file in Self.files { try StoreName.remove(path + "/" + file) }
    guard rmdir(path) == 0 || errno == ENOENT else { throw .system(operation: "remove", path: path, errno: errno) }
    try StoreName.syncFolder(store)
  }
}

extension EpochStore {
  /// Ends removals of guests' folders that were broken off; see ``GuestFolder/removeForGood()``.
  ///
  /// - Returns: the guests, by uuid.
  public func discardRemoved() throws(StoreError) -> [String] {
    let removed = try RemovedFolder.all(in: path)
    for folder in removed { try folder.discard() }
    return removed.map(\.uuid)
  }
}
