/// Makes an epoch's index out of what the writer was given, page for page possibly more than once, and its base's
/// index: sorted, each page answered for by exactly one entry, the youngest.
///
/// The hashes decide which pages the epoch holds and what types they have. A page that they hold has the content that
/// was given last, or the base's when none was: equal content is never given twice.
final class IndexMerge {
  private let own: [PageEntry]
  private let base: IndexStream?
  private let hashes: PageHashes
  /// The first entry of `own` that was not merged yet.
  private var position = 0
  private var pages = 0
  private var isBegun = false

  init(own: [PageEntry], base: IndexStream?, hashes: PageHashes) {
    self.own = own.sorted { ($0.group, $0.round) < ($1.group, $1.round) }
    self.base = base
    self.hashes = hashes
  }

  /// The entries of the next group that needs any; nil at the end, when the base's index has proved whole.
  func nextGroup() throws(StoreError) -> [PageEntry]? {
    if !isBegun { try base?.advance() }
    isBegun = true
    while let group = [base?.next?.group, position < own.count ? own[position].group : nil].compactMap(\.self).min() {
      let entries = merge(group, older: try inherited(group))
      if !entries.isEmpty { return entries }
    }
    try base?.finish()
    // Pages that only the hashes know: base and hashes are not of one epoch.
    guard pages == hashes.count else { throw base?.damaged ?? .invalid("pages without content") }
    return nil
  }

  private func inherited(_ group: UInt64) throws(StoreError) -> [PageEntry] {
    var entries: [PageEntry] = []
    while let entry = base?.next, entry.group == group {
      entries.append(entry)
      try base?.advance()
    }
    return entries
  }

  /// Takes the group's own entries, oldest first as they stand, after the base's.
  private func merge(_ group: UInt64, older: [PageEntry]) -> [PageEntry] {
    let first = position
    while position < own.count, own[position].group == group { position += 1 }
    let (held, types) = hashes.group(group)
    var missing = held
    var zero: UInt16 = 0
    var frames: [PageEntry] = []
    func take(_ given: PageEntry, isOwn: Bool) {
      var entry = given
      entry.data &= missing
      zero |= entry.zero & missing
      missing &= ~(entry.data | entry.zero)
      entry.zero = 0
      // A frame of our own that lost all its pages keeps its entry: its bytes stay covered by a checksum.
      if entry.hasFrame, isOwn || entry.data != 0 { frames.append(entry) }
    }
    for entry in own[first..<position].reversed() { take(entry, isOwn: true) }
    for entry in older { take(entry, isOwn: false) }
    pages += (held & ~missing).nonzeroBitCount
    if frames.isEmpty {
      if zero == 0 { return [] }
      frames.append(
        PageEntry(group: group, offset: 0, hash: 0, types: 0, length: 0, epoch: 0, data: 0, zero: 0, round: 0))
    }
    frames.sort { ($0.epoch, $0.offset) < ($1.epoch, $1.offset) }
    frames[0].zero = zero
    for index in frames.indices {
      frames[index].types = types & PageEntry.nibbles(frames[index].data | frames[index].zero)
    }
    return frames
  }
}
