import Glibc

/// How a page of one epoch differs from the same page of an older one.
public enum PageChange: Sendable {
  /// Both have it, with another content.
  case changed
  /// Only the younger has it.
  case added
  /// Only the older has it.
  case removed
}

extension EpochReader {
  /// The pages of the epoch, zero pages too, by groups of 16: the first pfn of a group and its pages, bit 0 the first. Ascending; reads
  /// no page.
  public func forEachGroup(_ body: (_ firstPFN: UInt64, _ pages: UInt16) throws -> Void) rethrows {
    var start = 0
    while start < index.pageEntries {
      let range = index.group(from: start)
      var pages: UInt16 = 0
      for number in range { pages |= index[number].data | index[number].zero }
      if pages != 0 { try body(index[start].group * UInt64(EpochFormat.framePages), pages) }
      start = range.upperBound
    }
  }

  /// Every page that differs from that of `older`, ascending. Only pages that the two do not have in the same place of the same file are
  /// read, and compared byte by byte: an epoch that stores everything anew differs in what really changed.
  ///
  /// - Parameter mayGoOn: asked again and again while nothing differs; ends it by throwing.
  /// - Throws: `StoreError` for a damaged file.
  public func forEachChange(
    since older: EpochReader, _ mayGoOn: () throws -> Void = {},
    _ body: (_ pfn: UInt64, _ change: PageChange) throws -> Void
  ) throws {
    let comparison = GroupComparison(older, self)
    var (left, right) = (0, 0)
    while left < older.index.pageEntries || right < index.pageEntries {
      try mayGoOn()
      let groups = (older.group(at: left), group(at: right))
      let number = min(groups.0, groups.1)
      let before = groups.0 == number ? older.index.group(from: left) : left..<left
      let after = groups.1 == number ? index.group(from: right) : right..<right
      try comparison.compare(before, after) { slot, change in
        try body(number * UInt64(EpochFormat.framePages) + UInt64(slot), change)
      }
      (left, right) = (before.upperBound, after.upperBound)
    }
  }

  func group(at entry: Int) -> UInt64 { entry < index.pageEntries ? index[entry].group : .max }
}

/// Compares one group of pages after the other.
final class GroupComparison {
  let older: Side
  let younger: Side

  init(_ older: EpochReader, _ younger: EpochReader) { (self.older, self.younger) = (Side(older), Side(younger)) }

  /// Where a page's content is.
  enum Place: Equatable {
    case zero
    case frame(epoch: UInt32, offset: UInt64)
  }

  /// - Parameters before, after: the group's entries in each index; empty where it has none.
  func compare(_ before: Range<Int>, _ after: Range<Int>, _ body: (Int, PageChange) throws -> Void) throws {
    let (old, new) = (older.places(before), younger.places(after))
    var unknown: UInt16 = 0
    for slot in 0..<EpochFormat.framePages where old[slot] != new[slot] {
      if case .frame? = old[slot], case .frame? = new[slot] { unknown |= 1 << UInt16(slot) }
    }
    if unknown != 0 {
      try older.load(before, unknown)
      try younger.load(after, unknown)
    }
    for slot in 0..<EpochFormat.framePages where old[slot] != new[slot] {
      if unknown >> UInt16(slot) & 1 == 1, older.page(slot, equals: younger) { continue }
      try body(slot, old[slot] == nil ? .added : new[slot] == nil ? .removed : .changed)
    }
  }

  /// One epoch, and room for a group of its pages, each at its slot.
  final class Side {
    let reader: EpochReader
    private let unpacker: FrameUnpacker
    private let frame = UnsafeMutableRawBufferPointer.allocate(
      byteCount: EpochFormat.headBytes(blocks: EpochFormat.frameBlocks) + EpochFormat.groupBytes, alignment: 8)
    private let pages = UnsafeMutableRawBufferPointer.allocate(byteCount: EpochFormat.groupBytes, alignment: 4096)

    init(_ reader: EpochReader) {
      self.reader = reader
      unpacker = FrameUnpacker(files: reader.files)
    }

    deinit {
      frame.deallocate()
      pages.deallocate()
    }

    func places(_ entries: Range<Int>) -> [Place?] {
      var places = [Place?](repeating: nil, count: EpochFormat.framePages)
      for entry in entries.lazy.map({ self.reader.index[$0] }) {
        for slot in 0..<EpochFormat.framePages {
          if entry.zero >> UInt16(slot) & 1 == 1 { places[slot] = .zero }
          if entry.data >> UInt16(slot) & 1 == 1 { places[slot] = .frame(epoch: entry.epoch, offset: entry.offset) }
        }
      }
      return places
    }

    /// Unpacks the frames that hold any of these pages.
    func load(_ entries: Range<Int>, _ wanted: UInt16) throws(StoreError) {
      for number in entries where reader.index[number].data & wanted != 0 {
        let entry = reader.index[number]
        let needed = entry.needed
        let bytes = UnsafeMutableRawBufferPointer(rebasing: frame[..<needed.count])
        try reader.files.file(entry.epoch).read(bytes, at: needed.lowerBound)
        let head = UnsafeRawPointer(bytes.baseAddress.unsafelyUnwrapped) + Int(entry.head - needed.lowerBound)
        try unpacker.unpack(head, entry, wanted: .max, to: pages.baseAddress.unsafelyUnwrapped)
      }
    }

    /// A page that was loaded.
    func page(_ slot: Int) -> UnsafeRawPointer {
      UnsafeRawPointer(pages.baseAddress.unsafelyUnwrapped + slot * EpochFormat.pageSize)
    }

    func page(_ slot: Int, equals other: Side) -> Bool {
      memcmp(page(slot), other.page(slot), EpochFormat.pageSize) == 0
    }
  }
}
