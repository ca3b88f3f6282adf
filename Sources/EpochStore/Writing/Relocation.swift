import Glibc

/// Frees an epoch of files of older ones: pages that they have of it are stored once more, in its own file.
///
/// Every epoch leaves pages that the guest does not change again. Were they left where they are, an epoch would need ever more files, in
/// the end as many as its guest has pages, and each of them would have to be opened by a restore, and kept. So an epoch that would need
/// more than ``files`` takes over what the emptiest of them have, as far as its budget goes: with 32 MiB an epoch, a guest of 64 GiB
/// comes to some two thousand files at the very worst, and to little more than ``files`` as guests are.
public enum Relocation {
  /// Files of older epochs that an epoch may need: no more than a restore holds open at a time, which is 256 under the usual limit of
  /// 1024 descriptors (``EpochFiles``).
  public static let files = 100
  /// Pages that an epoch takes over at most.
  public static let pages = 8192

  /// Whether an epoch on this base will take pages over: then room for ``pages`` more has to be set aside.
  public static func isDue(_ base: EpochBase) -> Bool { surplus(base, beyond: files) > 0 }

  /// How many files too many an epoch on this base needs, the base's own among them.
  static func surplus(_ base: EpochBase, beyond files: Int) -> Int {
    max(0, ((try? base.folder.manifest(base.epoch))?.needs.count ?? 0) + 1 - files)
  }
}

extension EpochWriter {
  /// Takes pages over from files that hold little of this epoch; to be called when all pages were appended. No more is written than was
  /// set aside for the epoch.
  ///
  /// - Parameters:
  ///   - files: how many older files may stay needed.
  ///   - pages: how many pages to take over at most.
  ///   - shouldStop: asked often; what was taken over until then stays.
  /// - Returns: pages taken over.
  /// - Throws: `damaged` when a file does not have what this epoch needs of it. It would be as damaged as those that need that already, and
  ///   they are marked.
  @discardableResult
  public func relocate(
    beyond files: Int = Relocation.files, pages: Int = Relocation.pages, shouldStop: () -> Bool = { false }
  ) throws(StoreError) -> Int {
    guard let base else { return 0 }
    let surplus = Relocation.surplus(base, beyond: files)
    let budget = min(pages, pagesThatFit)
    guard surplus > 0, budget > 0, let entries = try? emptiest(surplus, of: base, pages: budget) else { return 0 }
    guard let relocator = try? PageRelocator(base) else { return 0 }
    let count = try relocator.relocate(entries, known: hashes, shouldStop: shouldStop) { staged throws(StoreError) in
      try self.store(again: staged)
    }
    guard let first = relocator.findings.damage.first else { return count }
    // Where that cannot be kept, the next take finds it again.
    _ = try? FolderVerifier(folder, method: .quick).finish(with: relocator.findings)
    throw .damaged(path: "\(folder.path)/\(first.file)", what: first.what)
  }

  /// What the files have that hold least of this epoch, by group.
  ///
  /// - Throws: when the base's index does not prove whole.
  private func emptiest(_ count: Int, of base: EpochBase, pages: Int) throws(StoreError) -> [PageEntry] {
    let replaced = replacedPages
    var live: [UInt32: Int] = [:]
    try forEachInherited(base, replaced) { live[$0.epoch, default: 0] += $0.data.nonzeroBitCount }
    var (left, chosen) = (pages, Set<UInt32>())
    for (epoch, pages) in live.sorted(by: { ($0.value, $0.key) < ($1.value, $1.key) }).prefix(count) {
      guard pages <= left else { break }
      left -= pages
      chosen.insert(epoch)
    }
    var entries: [PageEntry] = []
    if chosen.isEmpty { return entries }
    try forEachInherited(base, replaced) { if chosen.contains($0.epoch) { entries.append($0) } }
    return entries
  }

  /// Entries of the base's index, with those pages alone that this epoch still takes from there.
  private func forEachInherited(
    _ base: EpochBase, _ replaced: [UInt64: UInt16], _ body: (PageEntry) -> Void
  ) throws(StoreError) {
    let index = try IndexStream(base)
    try index.advance()
    while var entry = index.next {
      entry.data &= hashes.group(entry.group).held & ~(replaced[entry.group] ?? 0)
      if entry.hasFrame, entry.data != 0 { body(entry) }
      try index.advance()
    }
    try index.finish()
  }
}

/// Reads pages out of frames and hands them on, some at a time.
private final class PageRelocator {
  private static let batchPages = 2048

  private let files: EpochFiles
  private let unpacker: FrameUnpacker
  /// A frame as it is stored, and the pages of a group, each in its place.
  private let stored = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 4096)
  private let group = UnsafeMutableRawPointer.allocate(byteCount: EpochFormat.groupBytes, alignment: 4096)
  private let pages = UnsafeMutableRawBufferPointer.allocate(
    byteCount: batchPages * EpochFormat.pageSize, alignment: 4096)
  private var pfns: [UInt64] = []
  private var types: [UInt8] = []
  /// What is not as it was written.
  private(set) var findings = Findings()

  init(_ base: EpochBase) throws(StoreError) {
    let file = try StoreFile.open(base.folder.path + "/" + EpochName.file(base.epoch), O_RDONLY)
    files = EpochFiles(folder: base.folder, epoch: base.epoch, file: file)
    unpacker = FrameUnpacker(files: files)
  }

  deinit {
    stored.deallocate()
    group.deallocate()
    pages.deallocate()
  }

  /// - Parameters:
  ///   - entries: by group.
  ///   - known: what the pages must prove to be.
  func relocate(
    _ entries: [PageEntry], known: PageHashes, shouldStop: () -> Bool,
    to store: (StagedPages) throws(StoreError) -> Void
  ) throws(StoreError) -> Int {
    var (relocated, next) = (0, 0)
    while next < entries.count, !shouldStop() {
      pfns.removeAll(keepingCapacity: true)
      types.removeAll(keepingCapacity: true)
      while next < entries.count, pfns.count + EpochFormat.framePages <= Self.batchPages {
        let number = entries[next].group
        var mask: UInt16 = 0
        while next < entries.count, entries[next].group == number {
          if read(entries[next]) { mask |= entries[next].data }
          next += 1
        }
        add(number, mask, known)
      }
      if pfns.isEmpty { continue }
      try hand(to: store)
      relocated += pfns.count
    }
    return relocated
  }

  /// Puts the pages of a frame into their places in the group. What is not as it was written is noted.
  ///
  /// - Returns: whether they are there. What has no right, or no descriptor, to be read now, stays where it is.
  private func read(_ entry: PageEntry) -> Bool {
    let needed = entry.needed
    let bytes = UnsafeMutableRawBufferPointer(rebasing: stored[..<needed.count])
    do throws(StoreError) { try files.file(entry.epoch).read(bytes, at: needed.lowerBound) } catch {
      if error.isDamage { findings.add(error, frame: .init(entry: entry, pages: .max)) }
      return false
    }
    let head = UnsafeRawPointer(bytes.baseAddress.unsafelyUnwrapped) + Int(entry.head - needed.lowerBound)
    do throws(StoreError) { try unpacker.unpack(head, entry, wanted: .max, to: group) } catch {
      let pages = unpacker.damage(head, entry, whole: false)?.pages ?? entry.data
      findings.add(error, frame: .init(entry: entry, pages: pages))
      return false
    }
    return true
  }

  /// Adds those pages of a group to the batch that are what the epoch knows them as.
  private func add(_ number: UInt64, _ mask: UInt16, _ known: PageHashes) {
    var rest = mask
    while rest != 0 {
      let slot = rest.trailingZeroBitCount
      rest &= rest &- 1
      let pfn = number * UInt64(EpochFormat.framePages) + UInt64(slot)
      let page = UnsafeRawPointer(group + slot * EpochFormat.pageSize)
      guard PageHashes.hash(page) == known[pfn] else { continue }
      (pages.baseAddress.unsafelyUnwrapped + pfns.count * EpochFormat.pageSize).copyMemory(
        from: page, byteCount: EpochFormat.pageSize)
      pfns.append(pfn)
      types.append(known.type(pfn))
    }
  }

  private func hand(to store: (StagedPages) throws(StoreError) -> Void) throws(StoreError) {
    let bytes = UnsafeRawBufferPointer(rebasing: pages[..<(pfns.count * EpochFormat.pageSize)])
    let result = pfns.withUnsafeBufferPointer { pfns in
      types.withUnsafeBufferPointer { types in
        Result { () throws(StoreError) in try store(StagedPages(pfns: pfns, types: types, pages: bytes)) }
      }
    }
    try result.get()
  }
}
