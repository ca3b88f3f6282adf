import Glibc

/// A guest's folder that cannot be read, and why: nothing is known of its epochs.
public struct UnreadableFolder: Equatable, Sendable {
  public let uuid: String
  public let path: String
  public let error: StoreError

  public init(uuid: String, path: String, error: StoreError) {
    (self.uuid, self.path, self.error) = (uuid, path, error)
  }
}

/// What was read of each guest's folder.
public struct StoreSurvey<Value> {
  /// By uuid, of the folders that can be read.
  public internal(set) var values: [Value] = []
  public internal(set) var unreadable: [UnreadableFolder] = []
}

extension EpochStore {
  /// Reads something of each guest's folder, by uuid. One that cannot be read hides no other.
  ///
  /// - Throws: only when the store itself cannot be listed.
  public func survey<Value>(
    _ read: (GuestFolder) throws(StoreError) -> Value
  ) throws(StoreError) -> StoreSurvey<Value> {
    var survey = StoreSurvey<Value>()
    for folder in try folders() {
      do { survey.values.append(try read(folder)) } catch {
        if isGone(folder, error) { continue }
        survey.unreadable.append(UnreadableFolder(uuid: folder.uuid, path: folder.path, error: error))
      }
    }
    return survey
  }

  /// Removed between listing and reading.
  private func isGone(_ folder: GuestFolder, _ error: StoreError) -> Bool {
    guard case .system(_, _, ENOENT) = error else { return false }
    return (try? StoreName.exists(folder.path)) == false
  }

  /// The folders of all guests, as far as they can be listed, and those that cannot.
  public func listable() throws(StoreError) -> StoreSurvey<GuestFolder> {
    try survey { folder throws(StoreError) in
      _ = try folder.names()
      return folder
    }
  }
}
