import Glibc

/// What a compaction came to.
public struct Compaction: Hashable, Sendable {
  /// Bytes of the disk that the file system got back.
  public internal(set) var freedBytes: UInt64 = 0
  /// False when the budget was used up, or somebody asked to stop: there is more to do.
  public internal(set) var isComplete = true
  /// Why some files were left as they are, a line each.
  public internal(set) var notes: [String] = []

  /// Nothing was to be done.
  public init() {}

  /// Bytes to give back at a time where nobody waits for the room: 1 GiB. The guest's folder is locked meanwhile, which its next take
  /// would find; this much takes seconds, even where every single block is a hole of its own.
  public static let unattendedBudget: UInt64 = 1 << 30
}

// Files of removed epochs that younger ones still need are mostly garbage. What is not needed is punched out of them, in place: every
// offset stays right, so no index of a published epoch has to change, and breaking off at any moment leaves a file as good as before.
// Files of published epochs are never touched: `verify` covers each of their bytes.
extension GuestFolder {
  /// Gives back what no epoch needs in the files of removed epochs. May be repeated at any time, and costs the reading of the
  /// indexes of those epochs that need such files. The caller holds the exclusive lock.
  ///
  /// - Parameters:
  ///   - budget: about how many bytes to give back at most.
  ///   - shouldStop: asked often; nothing is lost by stopping.
  public func compact(
    budget: UInt64 = .max, shouldStop: () -> Bool = { false }
  ) throws(StoreError) -> Compaction {
    var compaction = Compaction()
    let names = try names()
    let published = Set(names.filter { $0.suffix == .manifest }.map(\.epoch))
    let retained = names.filter { $0.suffix == .file && !published.contains($0.epoch) }.map(\.epoch)
    guard !retained.isEmpty else { return compaction }
    // A manifest that was removed must not come back after a crash: its pages are about to go.
    try StoreName.syncFolder(path)
    var used: [Int: UsedBlocks] = [:]
    for epoch in retained {
      do { used[epoch] = try UsedBlocks(self, epoch) } catch { compaction.notes.append("\(error)") }
    }
    for epoch in published.sorted() {
      if shouldStop() {
        compaction.isComplete = false
        return compaction
      }
      if let note = mark(epoch, &used) { compaction.notes.append(note) }
    }
    for (_, blocks) in used.sorted(by: { $0.key < $1.key }) {
      do {
        guard try blocks.punch(&compaction, budget: budget, shouldStop: shouldStop) else { break }
      } catch { compaction.notes.append("\(error)") }
    }
    return compaction
  }

  /// Whether so much can be expected of it that the reading is worth it where nobody waits for the room: files that were never gone through
  /// make an eighth of all. With a policy an epoch goes after every take, and the indexes of all that stay may be gigabytes.
  public func isCompactionDue() throws(StoreError) -> Bool {
    let names = try names()
    let published = Set(names.filter { $0.suffix == .manifest }.map(\.epoch))
    var (all, waiting): (UInt64, UInt64) = (0, 0)
    for (epoch, suffix) in names where suffix == .file {
      let path = path + "/" + EpochName.file(epoch)
      let bytes = StoreName.diskBytes(path)
      all += bytes
      // Nobody needs its index, which lies at the end: one that was gone through wholly has a hole there.
      if !published.contains(epoch), try !StoreFile.open(path, O_RDONLY).endsInHole() { waiting += bytes }
    }
    return waiting * 8 > all
  }

  /// Marks what one epoch uses. Where that cannot be known, forgets the files that it may need: they are left alone.
  ///
  /// - Returns: why files were left alone.
  private func mark(_ epoch: Int, _ used: inout [Int: UsedBlocks]) -> String? {
    guard let manifest = try? manifest(epoch) else {
      let count = used.count
      used = used.filter { $0.key > epoch }
      return count == used.count ? nil : "the manifest of epoch \(epoch) is damaged: older files are left as they are"
    }
    let files = manifest.needs.filter { used[$0] != nil }
    guard !files.isEmpty else { return nil }
    do {
      try mark(IndexStream(self, epoch: epoch, fileHash: manifest.fileHash), used)
      return nil
    } catch {
      for file in files { used[file] = nil }
      return "\(error); the files that epoch \(epoch) needs are left as they are"
    }
  }

  private func mark(_ index: IndexStream, _ used: [Int: UsedBlocks]) throws(StoreError) {
    try index.advance()
    while let entry = index.next {
      if entry.hasFrame, let blocks = used[Int(entry.epoch)], !blocks.mark(entry.offset, entry.frameBytes) {
        throw index.damaged
      }
      try index.advance()
    }
    try index.finish()
  }
}

/// Which blocks of a file are used.
private final class UsedBlocks {
  private static let blockBytes: UInt64 = 4096
  /// Beyond any file of a guest that Xen could run; bounds the memory that a strange file can cost.
  private static let sizeLimit: UInt64 = 16 << 40

  private let path: String
  private let size: UInt64
  private let blocks: Int
  private var bits: [UInt64]

  /// nil for a file that is not to be touched.
  init?(_ folder: GuestFolder, _ epoch: Int) throws(StoreError) {
    path = folder.path + "/" + EpochName.file(epoch)
    size = try StoreFile.open(path, O_RDONLY).regularSize()
    guard size <= Self.sizeLimit else { return nil }
    blocks = Int((size + Self.blockBytes - 1) / Self.blockBytes)
    bits = Array(repeating: 0, count: (blocks + 63) / 64)
    _ = mark(0, UInt64(EpochFormat.headerBytes))
  }

  /// - Returns: false when the range is not within the file.
  func mark(_ offset: UInt64, _ count: UInt64) -> Bool {
    guard count <= size, offset <= size - count else { return false }
    guard count > 0 else { return true }
    for block in Int(offset / Self.blockBytes)...Int((offset + count - 1) / Self.blockBytes) {
      bits[block / 64] |= 1 << UInt64(block % 64)
    }
    return true
  }

  private func isUsed(_ block: Int) -> Bool { bits[block / 64] >> UInt64(block % 64) & 1 != 0 }

  /// Looks only where the file has data: what was punched out once costs nothing again.
  ///
  /// - Returns: false when it is time to stop.
  func punch(
    _ compaction: inout Compaction, budget: UInt64, shouldStop: () -> Bool
  ) throws(StoreError) -> Bool {
    let file = try StoreFile.open(path, O_RDWR)
    var next: UInt64 = 0
    while let data = try file.data(from: next) {
      next = data.upperBound
      let last = min(blocks, Int((data.upperBound + Self.blockBytes - 1) / Self.blockBytes))
      var block = Int(data.lowerBound / Self.blockBytes)
      while let run = unusedRun(from: block, below: last) {
        guard compaction.freedBytes < budget, !shouldStop() else {
          compaction.isComplete = false
          return false
        }
        let left = Int(min((budget - compaction.freedBytes) / Self.blockBytes + 1, UInt64(run.count)))
        block = run.lowerBound + left
        guard try punch(run.lowerBound..<block, of: file, &compaction) else { return false }
      }
    }
    return true
  }

  private func unusedRun(from start: Int, below limit: Int) -> Range<Int>? {
    var first = start
    while first < limit, isUsed(first) { first += 1 }
    var end = first
    while end < limit, !isUsed(end) { end += 1 }
    return end > first ? first..<end : nil
  }

  /// - Returns: false where the file system cannot.
  private func punch(
    _ run: Range<Int>, of file: StoreFile, _ compaction: inout Compaction
  ) throws(StoreError) -> Bool {
    let before = try file.diskBytes()
    guard
      try file.punchHole(
        at: UInt64(run.lowerBound) * Self.blockBytes, count: UInt64(run.count) * Self.blockBytes)
    else {
      compaction.notes.append(
        "the file system of \(path) cannot give back parts of a file; it stays whole until no epoch needs it")
      return false
    }
    let after = try file.diskBytes()
    compaction.freedBytes += before > after ? before - after : 0
    return true
  }
}
