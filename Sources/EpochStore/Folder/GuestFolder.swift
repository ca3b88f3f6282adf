import Glibc

/// The epochs of one guest. Nothing is held open: a value of this type may be kept and passed around.
public struct GuestFolder: Hashable, Sendable {
  /// Lower case, 36 characters.
  public let uuid: String
  public let path: String
  /// The store that the folder is in.
  public var storePath: String { String(path.dropLast(uuid.utf8.count + 1)) }

  /// Takes the guest's lock at once or throws `locked`. Held until the result goes away, or the process.
  public func lock(_ kind: FolderLock.Kind) throws(StoreError) -> FolderLock {
    try FolderLock(path: path + "/lock", kind: kind)
  }

  /// All published epochs by number. A manifest that cannot be read is listed apart and hides no other.
  ///
  /// - Parameter detailed: read what the last verification of each found, and what was said of it, too.
  public func epochs(detailed: Bool = false) throws(StoreError) -> EpochList {
    var list = EpochList()
    for (epoch, suffix) in try names() where suffix == .manifest || suffix == .verdict {
      if suffix == .verdict {
        if detailed { list.verdicts[epoch] = try verdict(epoch) }
        continue
      }
      do { list.epochs.append(try manifest(epoch)) } catch {
        // Removed between listing and reading: it is simply gone.
        if case .notFound = error { continue }
        list.damaged.append(DamagedEpoch(epoch: epoch, error: error))
      }
    }
    if detailed {
      for epoch in list.epochs.map(\.epoch) { if let marks = try? marks(epoch) { list.marks[epoch] = marks } }
    }
    list.epochs.sort { $0.epoch < $1.epoch }
    list.damaged.sort { $0.epoch < $1.epoch }
    return list
  }

  /// One epoch's manifest; its `guest` is the name that the guest was given since, if it was. Throws `notFound` when the epoch does not exist, `damaged` when it cannot be trusted.
  public func manifest(_ epoch: Int) throws(StoreError) -> EpochManifest {
    do {
      var manifest = try ManifestFile.read(path + "/" + EpochName.manifest(epoch), uuid: uuid, epoch: epoch)
      if let name = givenName(of: epoch) { manifest.guest = name }
      return manifest
    } catch {
      guard case .system(_, _, ENOENT) = error else { throw error }
      throw .notFound("epoch \(epoch) of guest \(uuid)")
    }
  }

  /// The number that the next epoch shall have: above every number ever used, published or not.
  public func nextEpochNumber() throws(StoreError) -> Int {
    let used = try highestUsedNumber()
    guard used < EpochFormat.epochLimit else { throw .invalid("\(path) has used up its epoch numbers") }
    return used + 1
  }

  /// The highest number ever used in this folder, published or not; 0 in a new one.
  public func highestUsedNumber() throws(StoreError) -> Int {
    max(try counter(), try names().map(\.epoch).max() ?? 0)
  }

  /// Starts epoch `epoch` and sets `bytes` bytes aside for it, so that a full disk shows now and not when the
  /// guest waits. The number counts as used from here on. The caller holds the exclusive lock.
  ///
  /// - Parameter base: an epoch of this folder, whose pages the new one inherits; without it the new one starts empty.
  /// - Throws: `full` when the reserve does not fit, `exists` when the number was used before, `damaged` when the base's
  ///   file is not what it was: then ask for ``base(threads:)`` again, or do without.
  public func create(epoch: Int, reserving bytes: UInt64, base: EpochBase? = nil) throws(StoreError) -> EpochWriter {
    guard epoch >= (try nextEpochNumber()) else { throw .exists(path: path, epoch: epoch) }
    return try begin(epoch, reserving: bytes, base: base)
  }

  /// Starts an epoch that was taken elsewhere, under the number that it has there, which may be below that of others. Otherwise as
  /// ``create(epoch:reserving:base:)``.
  ///
  /// - Throws: `exists` also when a file of that number is still needed, `invalid` for a number so high that it would use up those of
  ///   takes to come: whoever made the file chose it.
  public func create(imported epoch: Int, reserving bytes: UInt64, base: EpochBase? = nil) throws(StoreError)
    -> EpochWriter
  {
    guard try !names().contains(where: { $0.epoch == epoch }) else { throw .exists(path: path, epoch: epoch) }
    let highest = min(try nextEpochNumber() + Self.importLead, EpochFormat.epochLimit)
    guard epoch <= highest else {
      throw .invalid("epoch \(epoch) cannot be imported into \(path): the highest is \(highest)")
    }
    return try begin(epoch, reserving: bytes, base: base)
  }

  /// How far above the next number an imported epoch's may be: nine years of epochs, one every five minutes.
  private static let importLead = 1_000_000

  private func begin(_ epoch: Int, reserving bytes: UInt64, base: EpochBase?) throws(StoreError) -> EpochWriter {
    guard 1...EpochFormat.epochLimit ~= epoch else { throw .invalid("epoch \(epoch) is not within 1 and 2^32 - 1") }
    if let base { try checkIsPublished(base) }
    let index: IndexStream? = if let base { try IndexStream(base) } else { nil }
    SpaceReserve(of: self).fill()
    try rememberUsed([epoch])
    let partial = path + "/" + EpochName.file(epoch) + EpochName.partial
    let file = try StoreFile.open(partial, O_RDWR | O_CREAT | O_EXCL)
    do {
      try file.reserve(bytes)
      return try EpochWriter(folder: self, epoch: epoch, file: file, reserved: bytes, base: base, index: index)
    } catch {
      _ = try? StoreName.remove(partial)
      throw error
    }
  }

  /// Opens a published epoch and checks all of it but its pages and records, which are checked as read.
  public func open(epoch: Int) throws(StoreError) -> EpochReader {
    try EpochReader(folder: self, manifest: try manifest(epoch))
  }

  /// A base that was removed meanwhile may have lost files that only it needed.
  private func checkIsPublished(_ base: EpochBase) throws(StoreError) {
    guard base.folder == self else { throw .invalid("the base is an epoch of \(base.folder.path)") }
    guard (try? manifest(base.epoch))?.fileHash == base.fileHash else {
      throw .damaged(
        path: path + "/" + EpochName.manifest(base.epoch), what: "epoch \(base.epoch) is no longer what it was")
    }
  }

  /// The names that are ours, unsorted.
  func names() throws(StoreError) -> [(epoch: Int, suffix: EpochName.Suffix)] {
    var names: [(epoch: Int, suffix: EpochName.Suffix)] = []
    try StoreName.forEach(in: path) { if let name = EpochName.parse($0) { names.append(name) } }
    return names
  }

  /// Takes away a folder that was made for an epoch that did not come, unless it holds one. The caller holds the exclusive lock.
  public func removeIfEmpty() {
    guard let names = try? names(), names.isEmpty, givenName == nil else { return }
    _ = try? removeForGood()
  }

  /// Takes away the folder of a guest that is given up, and with it the highest number that was used. The caller holds the exclusive
  /// lock, and knows that nothing bears one of the numbers any more.
  ///
  /// - Returns: false when all stays, for something in it is an epoch's, or none of ours.
  public func removeForGood() throws(StoreError) -> Bool {
    guard try StoreName.list(path).allSatisfy(RemovedFolder.isOurs) else { return false }
    let removed = RemovedFolder(uuid: uuid, store: storePath)
    // What an earlier removal left would be in the way.
    try removed.discard()
    // The name first: a folder that lost its counter would give its numbers again, and whoever waits for the lock makes another.
    try StoreName.rename(path, to: removed.path)
    try StoreName.syncFolder(storePath)
    // The guest is gone. What cannot be removed now, ``EpochStore/discardRemoved()`` removes.
    try? removed.discard()
    return true
  }

  // MARK: The highest number ever used

  private var counterPath: String { path + "/counter" }

  private func counter() throws(StoreError) -> Int {
    let file: StoreFile
    do { file = try StoreFile.open(counterPath, O_RDONLY) } catch {
      if case .system(_, _, ENOENT) = error { return 0 }
      throw error
    }
    let size = try file.regularSize()
    guard size <= 16 else { throw .damaged(path: counterPath, what: "it is not a number") }
    let text = String(decoding: try file.read(count: Int(size), at: 0), as: UTF8.self)
    guard text.hasSuffix("\n"), let number = Int(text.dropLast()), 0...EpochFormat.epochLimit ~= number else {
      throw .damaged(path: counterPath, what: "it is not a number; remove it if every epoch is still there")
    }
    return number
  }

  private func setCounter(_ number: Int) throws(StoreError) {
    try publish(bytes: Array("\(number)\n".utf8), as: counterPath)
  }

  /// The numbers stay used though nothing bears them any more.
  func rememberUsed(_ numbers: some Sequence<Int>) throws(StoreError) {
    if let highest = numbers.max(), highest > (try counter()) { try setCounter(highest) }
  }

  /// See ``SmallFile/replace(_:with:)``.
  func publish(bytes: [UInt8], as target: String) throws(StoreError) { try SmallFile.replace(target, with: bytes) }
}

/// The published epochs of a guest.
public struct EpochList: Sendable {
  /// By number.
  public internal(set) var epochs: [EpochManifest] = []
  /// Epochs whose manifest cannot be trusted, by number.
  public internal(set) var damaged: [DamagedEpoch] = []
  /// What the last verification of an epoch found, by number, where that was asked for and there was one.
  public internal(set) var verdicts: [Int: EpochVerdict] = [:]
  /// What was said of each epoch, where that was asked for and can be read.
  public internal(set) var marks: [Int: EpochMarks] = [:]

  /// The numbers of all published epochs, damaged ones too: their disks may still be wanted.
  public var allNumbers: [Int] { epochs.map(\.epoch) + damaged.map(\.epoch) }
}

/// An epoch whose manifest cannot be trusted, and why.
public struct DamagedEpoch: Sendable {
  public let epoch: Int
  public let error: StoreError
}
