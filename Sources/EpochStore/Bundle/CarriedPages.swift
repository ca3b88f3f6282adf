import Glibc

extension EpochReader {
  /// Hands out what somebody needs who has an older epoch, to get this one: every page that the two do not have with the same content and
  /// type, ascending. Without an older epoch that is every page.
  ///
  /// - Parameters:
  ///   - first: leaves out pages below.
  ///   - mayGoOn: asked again and again while nothing differs; ends it by throwing.
  ///   - body: gets 4096 bytes, or nil for a page that only the older epoch has.
  public func forEachCarriedPage(
    since older: EpochReader?, from first: UInt64, threads: Int, _ mayGoOn: () throws -> Void = {},
    _ body: (_ pfn: UInt64, _ type: UInt8, UnsafeRawPointer?) throws -> Void
  ) throws {
    guard let older else { return try forEachPage(from: first, threads, body) }
    let group = first / UInt64(EpochFormat.framePages)
    let comparison = GroupComparison(older, self)
    var (left, right) = (older.index.firstEntry(from: group), index.firstEntry(from: group))
    while left < older.index.pageEntries || right < index.pageEntries {
      try mayGoOn()
      let groups = (older.group(at: left), self.group(at: right))
      let number = min(groups.0, groups.1)
      let before = groups.0 == number ? older.index.group(from: left) : left..<left
      let after = groups.1 == number ? index.group(from: right) : right..<right
      try comparison.carry(before, after) { slot, type, page in
        let pfn = number * UInt64(EpochFormat.framePages) + UInt64(slot)
        if pfn >= first { try body(pfn, type, page) }
      }
      (left, right) = (before.upperBound, after.upperBound)
    }
  }

  private func forEachPage(
    from first: UInt64, _ threads: Int, _ body: (UInt64, UInt8, UnsafeRawPointer?) throws -> Void
  ) throws {
    try forEachBatch(startingAt: first, threads: threads) { batch in
      for index in batch.pfns.indices where batch.pfns[index] >= first {
        let page = UnsafeRawPointer(batch.bytes.baseAddress.unsafelyUnwrapped) + index * EpochFormat.pageSize
        try body(batch.pfns[index], batch.types[index], page)
      }
    }
  }
}

extension GroupComparison {
  /// Pages of one group that differ in content or type; nil for those that only the older epoch has.
  fileprivate func carry(
    _ before: Range<Int>, _ after: Range<Int>, _ body: (Int, UInt8, UnsafeRawPointer?) throws -> Void
  ) throws {
    let (old, new) = (older.places(before), younger.places(after))
    let (oldTypes, newTypes) = (older.types(before), younger.types(after))
    var (moved, retyped): (UInt16, UInt16) = (0, 0)
    for slot in 0..<EpochFormat.framePages where new[slot] != nil {
      let bit = UInt16(1) << UInt16(slot)
      if old[slot] != new[slot] { moved |= bit }
      if (oldTypes ^ newTypes) >> UInt64(slot * 4) & 0xf != 0 { retyped |= bit }
    }
    if moved != 0 { try older.load(before, moved) }
    if moved | retyped != 0 { try younger.load(after, moved | retyped) }
    for slot in 0..<EpochFormat.framePages {
      let bit = UInt16(1) << UInt16(slot)
      guard let place = new[slot] else {
        if old[slot] != nil { try body(slot, 0, nil) }
        continue
      }
      guard (moved | retyped) & bit != 0 else { continue }
      if retyped & bit == 0, isFrame(old[slot]), isFrame(place), older.page(slot, equals: younger) { continue }
      try body(slot, UInt8(newTypes >> UInt64(slot * 4) & 0xf), isFrame(place) ? younger.page(slot) : zeroPage)
    }
  }

  private func isFrame(_ place: Place?) -> Bool {
    if case .frame? = place { true } else { false }
  }
}

extension GroupComparison.Side {
  /// Four bits for each page of the group.
  fileprivate func types(_ entries: Range<Int>) -> UInt64 {
    entries.reduce(0) { $0 | reader.index[$1].types }
  }
}

/// A page of zeros, never written to and never freed.
nonisolated(unsafe) private let zeroPage: UnsafeRawPointer = {
  let page = UnsafeMutableRawPointer.allocate(byteCount: EpochFormat.pageSize, alignment: EpochFormat.pageSize)
  memset(page, 0, EpochFormat.pageSize)
  return UnsafeRawPointer(page)
}()
