/// Epochs of a guest whose disks a pool has, and which the guest's folder never had: it is another folder than the one that they were
/// taken into, which may come back. Nothing deletes their disks meanwhile.
public struct DiskOnlyEpochs: Equatable, Sendable, CustomStringConvertible {
  public var pool: String
  public var guestUUID: String
  /// Ascending, never empty.
  public var epochs: [Int]

  public var description: String {
    let last = epochs.count == 1 ? "" : " to \(epochs[epochs.count - 1])"
    return "pool \(pool) has disks of epoch \(epochs[0])\(last) of guest \(guestUUID), of which the guest's folder "
      + "in the store knows nothing: they are kept; if the folder was moved or lost, bring it back; to give them up: "
      + "ckpt remove \(guestUUID) \(epochs.prefix(8).map(String.init).joined(separator: " "))"
  }

  /// Why an epoch of that number cannot be imported.
  func obstacle(to epoch: Int) -> String {
    "pool \(pool) has disks of epoch \(epoch) already, of another folder of this guest; bring that back, or give them up: "
      + "ckpt remove \(guestUUID) \(epoch)"
  }
}

extension DiskHistory {
  /// - Parameters:
  ///   - published: all epochs of the guest's folder.
  ///   - used: the highest number that the folder ever gave away.
  func diskOnlyEpochs(published: Set<Int>, used: Int) throws -> [DiskOnlyEpochs] {
    try pools.catalogs().compactMap { catalog in
      let unknown = catalog.epochs.filter { isUnknown($0, published, used) }
      guard !unknown.isEmpty else { return nil }
      return DiskOnlyEpochs(
        pool: catalog.name, guestUUID: guestUUID, epochs: Set(unknown.map(\.epoch)).sorted())
    }
  }

  /// Writes down which they are: they shall be known as such also when the folder has come to give away higher numbers.
  func markUnknown(published: Set<Int>, used: Int) throws {
    func mark(_ catalog: inout PoolCatalog) {
      for index in catalog.epochs.indices where catalog.epochs[index].guestUUID == guestUUID {
        catalog.epochs[index].isUnknown = isUnknown(catalog.epochs[index], published, used) ? true : nil
      }
    }
    for catalog in try pools.catalogs() {
      var marked = catalog
      mark(&marked)
      if marked != catalog { try pools.open(catalog.name).change(mark) }
    }
  }

  /// As ``markUnknown(published:used:)``, for whoever is about to give away a number.
  ///
  /// - Returns: the newest of them: no number up to it may be given. 0 when there is none.
  func spareUnknown(published: Set<Int>, used: Int) throws -> Int {
    try markUnknown(published: published, used: used)
    return try diskOnlyEpochs(published: published, used: used).flatMap(\.epochs).max() ?? 0
  }

  private func isUnknown(_ snapshot: PoolCatalog.Snapshot, _ published: Set<Int>, _ used: Int) -> Bool {
    snapshot.guestUUID == guestUUID && !published.contains(snapshot.epoch)
      && (snapshot.isUnknown == true || snapshot.epoch > used)
  }
}
