import FoundationEssentials

/// The last time that a guest was brought back to an epoch in place, and how to undo that. Written before the guest is destroyed, and again
/// when that has come to its end.
public struct Rollback: Codable, Hashable, Sendable {
  /// The tag of epochs that were taken before a rollback.
  public static let tag = "before-restore"

  public var time: EpochTime
  /// The epoch that it was brought back to.
  public var epoch: Int
  /// The epoch that was taken of it right before, or before an earlier try that did not end; nil when none was. No policy removes it until
  /// the next rollback.
  public var safetyEpoch: Int?
  /// What was taken before other rollbacks that did not end, ascending. No policy removes these either.
  public var olderSafetyEpochs: [Int]
  /// Why none was taken right before; empty when one was.
  public var reason: String
  /// It came to its end. False from before the guest's end until then.
  public var isDone: Bool
  /// There was a guest to destroy, then or before an earlier rollback that did not end.
  public var destroys: Bool

  public init(
    time: EpochTime = .now, epoch: Int, safetyEpoch: Int?, olderSafetyEpochs: [Int] = [], reason: String = "",
    isDone: Bool = false, destroys: Bool = true
  ) {
    (self.time, self.epoch, self.safetyEpoch, self.reason) = (time, epoch, safetyEpoch, reason)
    (self.olderSafetyEpochs, self.isDone, self.destroys) = (olderSafetyEpochs, isDone, destroys)
  }

  enum CodingKeys: String, CodingKey {
    case time, epoch, reason, destroys
    case safetyEpoch = "safety_epoch"
    case olderSafetyEpochs = "older_safety_epochs"
    case isDone = "done"
  }

  public init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: CodingKeys.self)
    time = try values.decode(EpochTime.self, forKey: .time)
    epoch = try values.decode(Int.self, forKey: .epoch)
    safetyEpoch = try values.decodeIfPresent(Int.self, forKey: .safetyEpoch)
    olderSafetyEpochs = try values.decodeIfPresent([Int].self, forKey: .olderSafetyEpochs) ?? []
    reason = try values.decode(String.self, forKey: .reason)
    // Older versions did not write it down.
    isDone = try values.decodeIfPresent(Bool.self, forKey: .isDone) ?? true
    destroys = try values.decodeIfPresent(Bool.self, forKey: .destroys) ?? true
  }

  /// The epoch that undoes it; nil when there is none. One that ended where that would lead has undone it.
  public var wayBack: Int? { isDone && safetyEpoch == epoch ? nil : safetyEpoch }

  /// All that no policy may remove because of it.
  public var safetyEpochs: Set<Int> { Set(olderSafetyEpochs + [safetyEpoch].compactMap(\.self)) }
}

/// A rollback that is under way, as the guest's folder tells of it.
public struct RollbackRecord: Sendable {
  public private(set) var rollback: Rollback
  private let folder: GuestFolder
  /// The file as it was; nil when there was none.
  private let before: [UInt8]?
  /// `before` is known.
  private let wasRead: Bool

  /// Writes it down. What undoes one that did not end stays known: the guest was destroyed then, and what it was is in that epoch alone.
  /// Without an epoch of its own the new one is undone by that, unless the guest has run since.
  ///
  /// The caller holds the exclusive lock.
  public init(_ begun: Rollback, in folder: GuestFolder) throws(StoreError) {
    var (before, wasRead): ([UInt8]?, Bool) = (nil, true)
    do throws(StoreError) { before = try SmallFile.read(folder.rollbackPath) } catch { wasRead = false }
    let known = try folder.waysBack()
    var rollback = begun
    rollback.safetyEpoch = begun.safetyEpoch ?? known.newest
    rollback.destroys = begun.destroys || known.destroyed
    let older = known.all.union(begun.olderSafetyEpochs)
    rollback.olderSafetyEpochs = older.subtracting([rollback.safetyEpoch].compactMap(\.self)).sorted()
    (self.rollback, self.folder, self.before, self.wasRead) = (rollback, folder, before, wasRead)
    try folder.setLastRollback(rollback)
  }

  /// It has come to its end: the guest is back, or its disks where no more was wanted.
  public mutating func end() throws(StoreError) {
    rollback.isDone = true
    try folder.setLastRollback(rollback)
  }

  /// Nothing was changed of the guest: what was known before is known again.
  public mutating func takeBack() throws(StoreError) {
    // Of what could not be read, this one says at least which epochs are to stay.
    guard wasRead else { return try end() }
    if let before { return try folder.replaceRollback(with: before) }
    try StoreName.remove(folder.rollbackPath)
    try StoreName.syncFolder(folder.path)
  }
}

extension GuestFolder {
  fileprivate var rollbackPath: String { path + "/rollback" }

  /// nil when the guest was never brought back.
  ///
  /// - Throws: `damaged` when that cannot be known.
  public func lastRollback() throws(StoreError) -> Rollback? {
    guard let bytes = try SmallFile.read(rollbackPath) else { return nil }
    guard let rollback = try? JSONDecoder().decode(Rollback.self, from: Data(bytes)) else {
      throw .damaged(path: rollbackPath, what: "it does not tell the last rollback")
    }
    return rollback
  }

  /// The last rollback where it did not come to its end, and no epoch tells that the guest has run since.
  ///
  /// - Throws: as ``lastRollback()``.
  public func unendedRollback() throws(StoreError) -> Rollback? {
    guard let last = try lastRollback(), !last.isDone else { return nil }
    // By the number as well: a clock may be set back.
    if let newest = try newestTaken(), newest.epoch > last.safetyEpoch ?? 0, newest.time > last.time { return nil }
    return last
  }

  /// The newest epoch that was taken of the running guest here: an import tells nothing about it.
  private func newestTaken() throws(StoreError) -> EpochManifest? {
    for number in try names().filter({ $0.suffix == .manifest }).map(\.epoch).sorted(by: >) {
      if let manifest = try? manifest(number), manifest.origin == nil, manifest.statistics != nil { return manifest }
    }
    return nil
  }

  /// The caller holds the exclusive lock.
  public func setLastRollback(_ rollback: Rollback) throws(StoreError) {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    guard let data = try? encoder.encode(rollback) else { preconditionFailure("numbers and words always encode") }
    try replaceRollback(with: Array(data) + Array("\n".utf8))
  }

  /// The guest runs, so that its last rollback has ended, whoever started it. The caller holds the exclusive lock.
  public func endLastRollback() throws(StoreError) {
    guard var last = try lastRollback(), !last.isDone else { return }
    last.isDone = true
    try setLastRollback(last)
  }

  fileprivate func replaceRollback(with bytes: [UInt8]) throws(StoreError) {
    let reserve = SpaceReserve(of: self)
    try reserve.whenFull { () throws(StoreError) in try self.publish(bytes: bytes, as: self.rollbackPath) }
    // The guest's end may be next, and what is written after it shall find that space, too.
    reserve.fill()
  }

  /// What undoes rollbacks that did not end: the epoch to go back to, where the guest is not known to have run since, and all that no
  /// policy may remove; and whether they had a guest to destroy that has not run since. Where the last one cannot be read it may have been
  /// any that bears the tag.
  fileprivate func waysBack() throws(StoreError) -> (newest: Int?, all: Set<Int>, destroyed: Bool) {
    let found: Rollback?
    do throws(StoreError) { found = try lastRollback() } catch { return (nil, try overview().safetyEpochs, false) }
    guard let last = found, !last.isDone else { return (nil, [], false) }
    let unended = try unendedRollback()
    return (unended?.safetyEpoch, last.safetyEpochs, unended?.destroys ?? false)
  }
}
