import FoundationEssentials

/// A name that somebody gave a guest in the store, instead of the one that its epochs were taken under.
struct GivenName: Codable, Hashable, Sendable {
  var name: String
  /// The newest epoch then. Younger ones bear the name that the guest had in Xen.
  var upTo: Int

  enum CodingKeys: String, CodingKey {
    case name
    case upTo = "up_to"
  }
}

extension GuestFolder {
  private var namePath: String { path + "/name" }

  /// nil when nobody gave one, and when the file cannot be read: the epochs then are called what they were.
  var givenName: GivenName? {
    guard let bytes = try? SmallFile.read(namePath) else { return nil }
    return try? JSONDecoder().decode(GivenName.self, from: Data(bytes))
  }

  /// The name that the guest was given last; of one whose epochs are all gone, its own.
  public var lastName: String? { givenName?.name }

  /// The name that an epoch was given after it was taken; nil when it is called as it was.
  public func givenName(of epoch: Int) -> String? {
    guard let given = givenName, epoch <= given.upTo else { return nil }
    return given.name
  }

  /// Calls the guest otherwise in the store: all epochs that there are now. Their files stay as they are. The caller holds the
  /// exclusive lock.
  ///
  /// - Throws: `notFound` when the guest has no epoch.
  public func rename(to name: String) throws(StoreError) {
    guard let newest = try names().filter({ $0.suffix == .manifest }).map(\.epoch).max() else {
      throw .notFound("an epoch of guest \(uuid)")
    }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
    guard let data = try? encoder.encode(GivenName(name: name, upTo: newest)) else {
      preconditionFailure("a word and a number always encode")
    }
    try SpaceReserve(of: self).whenFull { () throws(StoreError) in
      try self.publish(bytes: Array(data) + Array("\n".utf8), as: self.namePath)
    }
  }
}
