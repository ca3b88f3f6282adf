import Glibc
import Synchronization

/// What a list of epochs and a policy want to know of one. Much faster to read than its manifest.
public struct EpochSummary: Hashable, Sendable {
  public let epoch: Int
  /// Name of the guest when the epoch was taken, or the one that it was given since.
  public internal(set) var guest: String
  let uuid: String
  public let time: EpochTime
  public let pauseMs: Double
  public let stopMs: Double
  /// Size of the epoch's own file.
  public let bytes: UInt64
  /// Names inside the guest of the disks that have a snapshot.
  public let disks: [String]
  /// Older epochs whose files hold pages of this one, ascending.
  public let needs: [Int]
}

extension EpochSummary {
  init(_ manifest: EpochManifest) {
    self.init(
      epoch: manifest.epoch, guest: manifest.guest, uuid: manifest.uuid, time: manifest.time,
      pauseMs: manifest.pauseMs, stopMs: manifest.stopMs, bytes: manifest.bytes,
      disks: manifest.disks.filter { $0.thinID != nil }.map(\.vdev), needs: manifest.needs)
  }
}

/// The published epochs of a guest at a glance.
public struct EpochOverview: Sendable {
  /// By number.
  public internal(set) var epochs: [EpochSummary] = []
  /// Epochs whose manifest cannot be trusted, by number.
  public internal(set) var damaged: [DamagedEpoch] = []
  /// What was said of epochs after they were published, damaged ones too. Those whose marks cannot be read count as pinned.
  public internal(set) var marks: [Int: EpochMarks] = [:]
  /// Why marks cannot be read.
  public internal(set) var unreadableMarks: [Int: StoreError] = [:]

  /// What the last verification of an epoch found, where there was one.
  public internal(set) var verdicts: [Int: EpochVerdict] = [:]
  /// The epochs that undo the last rollback, or one that did not end, whether or not they are still there. Where that cannot be read, all
  /// that were taken before a rollback.
  public internal(set) var safetyEpochs: Set<Int> = []

  /// The numbers of all published epochs, damaged ones too.
  public var allNumbers: [Int] { epochs.map(\.epoch) + damaged.map(\.epoch) }

  public func isPinned(_ epoch: Int) -> Bool { marks[epoch]?.pinned ?? (unreadableMarks[epoch] != nil) }
  public func tags(_ epoch: Int) -> [String] { marks[epoch]?.tags ?? [] }

  /// The epochs as a policy sees them. Damaged is what a verification said is, and one whose manifest cannot be read, which counts as of the time of the epoch before it.
  public var subjects: [Retention.Subject] {
    let whole = epochs.map {
      Retention.Subject(epoch: $0.epoch, time: $0.time, isDamaged: verdicts[$0.epoch]?.isDamaged == true)
    }
    let rest = damaged.map { lost in
      let time = epochs.last { $0.epoch < lost.epoch }?.time ?? epochs.first?.time ?? .now
      return Retention.Subject(epoch: lost.epoch, time: time, isDamaged: true)
    }
    return (whole + rest).map { subject in
      var subject = subject
      (subject.tags, subject.isPinned) = (tags(subject.epoch), isPinned(subject.epoch))
      subject.undoesRollback = safetyEpochs.contains(subject.epoch)
      return subject
    }
  }
}

extension EpochOverview {
  fileprivate mutating func read(_ name: (epoch: Int, suffix: EpochName.Suffix), _ reader: ManifestReader)
    throws(StoreError)
  {
    let epoch = name.epoch
    if name.suffix == .verdict { verdicts[epoch] = try reader.verdict(epoch) }
    guard name.suffix == .manifest else { return }
    do { epochs.append(try reader.summary(epoch)) } catch {
      // Removed between listing and reading: it is simply gone.
      if case .notFound = error { return }
      damaged.append(DamagedEpoch(epoch: epoch, error: error))
    }
  }

  /// Adds what was read of other epochs, in any order.
  fileprivate mutating func join(_ part: EpochOverview) {
    epochs += part.epochs
    damaged += part.damaged
    verdicts.merge(part.verdicts) { first, _ in first }
  }
}

extension GuestFolder {
  /// All published epochs by number. A manifest that cannot be read is listed apart and hides no other.
  public func overview() throws(StoreError) -> EpochOverview { try overview(of: names()) }

  /// - Parameter names: those of the folder.
  func overview(of names: [(epoch: Int, suffix: EpochName.Suffix)]) throws(StoreError) -> EpochOverview {
    var overview = try readAll(names.filter { $0.suffix == .manifest || $0.suffix == .verdict })
    overview.epochs.sort { $0.epoch < $1.epoch }
    overview.damaged.sort { $0.epoch < $1.epoch }
    for (epoch, suffix) in names where suffix == .marks {
      do { overview.marks[epoch] = try marks(epoch) } catch { overview.unreadableMarks[epoch] = error }
    }
    do { overview.safetyEpochs = try lastRollback()?.safetyEpochs ?? [] } catch {
      let tagged = overview.allNumbers.filter { overview.tags($0).contains(Rollback.tag) }
      overview.safetyEpochs = Set(tagged)
    }
    return overview
  }

  /// Reads manifests and verdicts on all cores, a few hundred at a time: a guest can have ten thousand.
  private func readAll(_ names: [(epoch: Int, suffix: EpochName.Suffix)]) throws(StoreError) -> EpochOverview {
    let portion = 256
    let portions = (names.count + portion - 1) / portion
    let work = SharedWork(count: portions, progress: nil)
    let all = Mutex(EpochOverview())
    try work.run(threads: min(portions, EpochStore.processors)) { _ throws(StoreError) in
      let reader = ManifestReader(self)
      var part = EpochOverview()
      while let piece = work.next() {
        for name in names[piece * portion..<min((piece + 1) * portion, names.count)] {
          try part.read(name, reader)
        }
      }
      all.withLock { $0.join(part) }
    }
    return all.withLock { $0 }
  }

  /// The newest epoch that the guest had under this name, or under any.
  func newest(named name: String? = nil) throws(StoreError) -> EpochSummary? {
    let reader = ManifestReader(self)
    let published = try names().filter { $0.suffix == .manifest }.map(\.epoch)
    for epoch in published.sorted(by: >) {
      if let summary = try? reader.summary(epoch), name == nil || summary.guest == name { return summary }
    }
    return nil
  }
}

/// Reads the summaries of many manifests, one after the other, into the same memory.
final class ManifestReader {
  private let folder: GuestFolder
  private let given: GivenName?
  private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(ManifestFile.sizeLimit), alignment: 16)

  init(_ folder: GuestFolder) {
    self.folder = folder
    given = folder.givenName
  }
  deinit { buffer.deallocate() }

  /// Throws what `GuestFolder.manifest(_:)` does.
  func summary(_ epoch: Int) throws(StoreError) -> EpochSummary {
    guard var summary = scan(EpochName.manifest(epoch), ManifestScanner.summary), summary.epoch == epoch,
      summary.uuid == folder.uuid
    else {
      return EpochSummary(try folder.manifest(epoch))
    }
    if let given, epoch <= given.upTo { summary.guest = given.name }
    return summary
  }

  /// What ``GuestFolder/verdict(_:)`` gives.
  func verdict(_ epoch: Int) throws(StoreError) -> EpochVerdict? {
    if let verdict = scan(EpochName.verdict(epoch), ManifestScanner.soundVerdict), verdict.epoch == epoch {
      return verdict
    }
    return try folder.verdict(epoch)
  }

  /// nil for whatever the slow way has to judge.
  private func scan<Result>(_ name: String, _ parse: (UnsafeRawBufferPointer) -> Result?) -> Result? {
    guard let file = try? StoreFile.open(folder.path + "/" + name, O_RDONLY), let size = try? file.regularSize(),
      size <= buffer.count
    else { return nil }
    let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(size)])
    guard (try? file.read(bytes, at: 0)) != nil, ManifestFile.isSealed(UnsafeRawBufferPointer(bytes)) else {
      return nil
    }
    return parse(UnsafeRawBufferPointer(bytes))
  }
}
