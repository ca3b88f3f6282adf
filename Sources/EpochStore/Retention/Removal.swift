/// What the removal of epochs came to. Sizes in bytes of the disk.
public struct Removal: Hashable, Sendable {
  /// The epochs that are gone, ascending.
  public internal(set) var epochs: [Int] = []
  /// What the file system got back for the epochs' files, and for the cache of page hashes where that went; manifests, some KiB
  /// each, are not counted.
  public internal(set) var freedBytes: UInt64 = 0
  /// Files of removed epochs, by number, that stay because younger epochs need pages in them.
  public internal(set) var retained: [Int] = []
  /// What those files have.
  public internal(set) var retainedBytes: UInt64 = 0
  /// Other names that were removed: what nobody needs any more, and what interrupted takes left.
  var names: [String] = []
}

// A file may go when its epoch has no manifest and no manifest that is there needs it. So manifests go first, all of them, and are
// gone for good before the first file: whenever this breaks off, every epoch that exists is whole, and the next call or the next
// take removes what is left.
extension GuestFolder {
  /// Removes epochs, and every file that no other epoch needs; with the last epoch the cache of page hashes as well. Reads the
  /// manifests of the epochs that stay, and no epoch file.
  /// The caller holds the exclusive lock.
  ///
  /// - Throws: `notFound` when one of the epochs does not exist; nothing was changed then.
  public func remove(epochs: Set<Int>) throws(StoreError) -> Removal {
    let published = Set(try names().filter { $0.suffix == .manifest }.map(\.epoch))
    if let unknown = epochs.subtracting(published).min() { throw .notFound("epoch \(unknown) of guest \(uuid)") }
    let reserve = SpaceReserve(of: self)
    try reserve.whenFull { () throws(StoreError) in
      try self.rememberUsed(epochs)
      for epoch in epochs.sorted() { try StoreName.remove(self.path + "/" + EpochName.manifest(epoch)) }
      try StoreName.syncFolder(self.path)
    }
    var removal = Removal()
    try reserve.whenFull { () throws(StoreError) in try self.sweep(&removal) }
    reserve.fill()
    removal.epochs = epochs.sorted()
    return removal
  }

  /// Removes what interrupted takes and removals left: partial files, and files without a manifest that no epoch needs.
  /// The caller holds the exclusive lock. Returns the names removed.
  @discardableResult
  public func discardUnpublished() throws(StoreError) -> [String] {
    var removal = Removal()
    try sweep(&removal)
    return removal.names
  }

  /// May be called again after it failed.
  private func sweep(_ removal: inout Removal) throws(StoreError) {
    (removal.retained, removal.retainedBytes) = ([], 0)
    let names = try names()
    let published = Set(names.filter { $0.suffix == .manifest }.map(\.epoch))
    if published.isEmpty { try dropHashes(&removal) }
    let loose = names.filter { $0.suffix.isPartial || !published.contains($0.epoch) }
    guard !loose.isEmpty else { return }
    try rememberUsed(names.map(\.epoch))
    // A manifest that somebody removed and that came back after a crash must find its file.
    try StoreName.syncFolder(path)
    let needs = loose.contains { $0.suffix == .file } ? PublishedNeeds(self, published) : nil
    for (epoch, suffix) in loose.sorted(by: { ($0.epoch, $0.suffix.rawValue) < ($1.epoch, $1.suffix.rawValue) }) {
      let name = EpochName.of(epoch, suffix)
      let bytes = StoreName.diskBytes(path + "/" + name)
      if suffix == .file, needs?.contains(epoch) == true {
        removal.retained.append(epoch)
        removal.retainedBytes += bytes
      } else if try StoreName.remove(path + "/" + name) {
        removal.names.append(name)
        removal.freedBytes += bytes
      }
    }
    if !removal.names.isEmpty { try StoreName.syncFolder(path) }
  }

  /// No epoch is left that a take could build on.
  private func dropHashes(_ removal: inout Removal) throws(StoreError) {
    for name in ["hashes", "hashes" + EpochName.partial] {
      let bytes = StoreName.diskBytes(path + "/" + name)
      if try StoreName.remove(path + "/" + name) { removal.freedBytes += bytes }
    }
  }
}

/// Which files of older epochs the published ones need.
struct PublishedNeeds {
  private var numbers: Set<Int> = []
  /// The youngest epoch whose manifest cannot be read: it may need any file that is older.
  private(set) var unknownBelow = 0

  init(_ folder: GuestFolder, _ published: Set<Int>) {
    let reader = ManifestReader(folder)
    for epoch in published {
      if let summary = try? reader.summary(epoch) {
        numbers.formUnion(summary.needs)
      } else {
        unknownBelow = max(unknownBelow, epoch)
      }
    }
  }

  init(_ overview: EpochOverview) {
    numbers = Set(overview.epochs.flatMap(\.needs))
    unknownBelow = overview.damaged.map(\.epoch).max() ?? 0
  }

  func contains(_ epoch: Int) -> Bool { epoch < unknownBelow || numbers.contains(epoch) }
}
