/// Makes an epoch's index out of what the writer was given, page for page possibly more than once, and its base's
/// index: sorted, each page answered for by exactly one entry, the youngest.
///
/// The hashes decide which pages the epoch holds and what types they have. A page that they hold has the content that
/// was given last, or the base's when none was. Equal content is given twice only where it is to be stored again (``Relocation``).
struct IndexMerge {
  private let own: [PageEntry]
  private let base: IndexStream?
  private let hashes: PageHashes
  /// The first entry of `own` that was not merged yet.
  private var position = 0
  // Used again for each group.
  private var older: [PageEntry] = []
  private var frames: [PageEntry] = []

  init(own: [PageEntry], base: IndexStream?, hashes: PageHashes) {
    self.own = own.sorted { ($0.group, $0.round) < ($1.group, $1.round) }
    self.base = base
    self.hashes = hashes
  }

  /// Hands the entries over in order. What came of it may be used only when this returns: the base's index has
  /// proved whole then.
  mutating func run(into output: IndexOutput) throws(StoreError) {
    try base?.advance()
    while let group = nextGroup {
      // However large the guest is: what did not change goes over as bytes.
      if let base, let limit = untouched(from: group) {
        try base.pass(below: limit) { bytes throws(StoreError) in try output.add(bytes) }
        if base.next?.group != group { continue }
      }
      try takeOlder(group)
      merge(group)
      for entry in frames { try output.add(entry) }
    }
    try base?.finish()
    // Pages that only the hashes know: base and hashes are not of one epoch.
    guard output.dataPages + output.zeroPages == UInt64(hashes.count) else {
      throw base?.damaged ?? .invalid("an epoch has pages without content")
    }
  }

  /// Where the groups end, from the base's next one on, in which nothing can have changed; nil when there is none. Looks no
  /// further than the base hands over at a time.
  private func untouched(from group: UInt64) -> UInt64? {
    let chunkGroups = UInt64(PageHashes.chunkPages / EpochFormat.framePages)
    let own = position < own.count ? own[position].group : UInt64.max
    guard base?.next?.group == group, own > group, hashes.isShared(group: group) else { return nil }
    var limit = group / chunkGroups * chunkGroups + chunkGroups
    while limit < own, limit - group < UInt64(IndexStream.bufferEntries), hashes.isShared(group: limit) {
      limit += chunkGroups
    }
    return min(limit, own)
  }

  private var nextGroup: UInt64? {
    let mine = position < own.count ? own[position].group : nil
    guard let inherited = base?.next?.group else { return mine }
    return min(inherited, mine ?? inherited)
  }

  private mutating func takeOlder(_ group: UInt64) throws(StoreError) {
    older.removeAll(keepingCapacity: true)
    guard let base else { return }
    while let entry = base.next, entry.group == group {
      older.append(entry)
      try base.advance()
    }
  }

  /// The group's own entries go first, the youngest at the front, then the base's.
  private mutating func merge(_ group: UInt64) {
    let (held, types) = hashes.group(group)
    var missing = held
    var zero: UInt16 = 0
    frames.removeAll(keepingCapacity: true)
    let first = position
    while position < own.count, own[position].group == group { position += 1 }
    for index in (first..<position).reversed() { take(own[index], isOwn: true, &missing, &zero) }
    for entry in older { take(entry, isOwn: false, &missing, &zero) }
    if frames.isEmpty, zero == 0 { return }
    if frames.isEmpty { frames.append(PageEntry(group: group)) }
    if frames.count > 1 { frames.sort { ($0.epoch, $0.offset) < ($1.epoch, $1.offset) } }
    frames[0].zero = zero
    for index in frames.indices {
      frames[index].types = types & PageEntry.nibbles(frames[index].data | frames[index].zero)
    }
  }

  private mutating func take(_ given: PageEntry, isOwn: Bool, _ missing: inout UInt16, _ zero: inout UInt16) {
    var entry = given
    entry.data &= missing
    zero |= entry.zero & missing
    missing &= ~(entry.data | entry.zero)
    entry.zero = 0
    // A frame of our own that lost all its pages keeps its entry: its bytes stay covered by a checksum.
    if entry.hasFrame, isOwn || entry.data != 0 { frames.append(entry) }
  }
}
