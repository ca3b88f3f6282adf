/// One entry of the page index: the pages of one group that one frame holds, and pages that are zero.
struct PageEntry {
  /// pfn / 16.
  var group: UInt64
  /// Where the frame starts in its epoch's file; 0 without a frame.
  var offset: UInt64
  /// XXH3-64 of the frame as stored, header and payload; 0 without a frame.
  var hash: UInt64
  /// Four bits of page type for each page, page 0 in the lowest.
  var types: UInt64
  /// Bytes of payload; 0 without a frame.
  var length: UInt32
  /// The epoch whose file holds the frame; 0 without a frame.
  var epoch: UInt32
  /// Pages to be taken from the frame, bit 0 the group's first.
  var data: UInt16
  /// Pages that are all zero.
  var zero: UInt16
  /// Order in which the writer was given it; not stored.
  var round: UInt32

  var hasFrame: Bool { length != 0 }
  /// Bytes of the frame with its header.
  var frameBytes: UInt64 { hasFrame ? UInt64(EpochFormat.frameHeaderBytes) + UInt64(length) : 0 }

  /// Drops pages that a younger entry answers for.
  mutating func withdraw(_ mask: UInt16) {
    data &= ~mask
    zero &= ~mask
    types &= Self.nibbles(data | zero)
  }

  /// The type bits of the pages of a mask.
  static func nibbles(_ mask: UInt16) -> UInt64 {
    var result: UInt64 = 0
    for bit in 0..<16 where mask & (1 << bit) != 0 { result |= 0xf << UInt64(bit * 4) }
    return result
  }
}

extension PageEntry {
  func encode(to target: UnsafeMutableRawPointer) {
    target.setLittle(0, group | UInt64(length) << 40)
    target.setLittle(8, offset)
    target.setLittle(16, hash)
    target.setLittle(24, types)
    target.setLittle(32, epoch)
    target.setLittle(36, data)
    target.setLittle(38, zero)
  }

  init(decoding source: UnsafeRawPointer) {
    let first = source.little(0, UInt64.self)
    group = first & (1 << 40 - 1)
    length = UInt32(first >> 40)
    offset = source.little(8, UInt64.self)
    hash = source.little(16, UInt64.self)
    types = source.little(24, UInt64.self)
    epoch = source.little(32, UInt32.self)
    data = source.little(36, UInt16.self)
    zero = source.little(38, UInt16.self)
    round = 0
  }
}

/// One entry of the record index.
struct RecordEntry {
  var type: UInt32
  var offset: UInt64
  var length: UInt64
  var hash: UInt64

  func encode(to target: UnsafeMutableRawPointer) {
    target.setLittle(0, type)
    target.setLittle(4, UInt32(0))
    target.setLittle(8, offset)
    target.setLittle(16, length)
    target.setLittle(24, hash)
  }

  /// nil when the reserved bytes are not zero.
  init?(decoding source: UnsafeRawPointer) {
    guard source.little(4, UInt32.self) == 0 else { return nil }
    self.init(
      type: source.little(0, UInt32.self), offset: source.little(8, UInt64.self),
      length: source.little(16, UInt64.self), hash: source.little(24, UInt64.self))
  }

  init(type: UInt32, offset: UInt64, length: UInt64, hash: UInt64) {
    self.type = type
    self.offset = offset
    self.length = length
    self.hash = hash
  }
}

/// Turns what the writer was given, page for page possibly more than once, into the index: sorted, each page
/// answered for by exactly one entry, the youngest.
func resolve(_ given: [PageEntry]) -> [PageEntry] {
  let sorted = given.sorted { ($0.group, $0.round) < ($1.group, $1.round) }
  var index: [PageEntry] = []
  index.reserveCapacity(sorted.count)
  var start = 0
  while start < sorted.count {
    var end = start + 1
    while end < sorted.count, sorted[end].group == sorted[start].group { end += 1 }
    if end == start + 1 {
      index.append(sorted[start])
    } else {
      index += resolve(group: sorted[start..<end])
    }
    start = end
  }
  return index
}

/// The entries of one group, oldest first. A frame that lost all its pages keeps its entry: its bytes stay in
/// the file and stay covered by a checksum.
private func resolve(group given: ArraySlice<PageEntry>) -> [PageEntry] {
  var claimed: UInt16 = 0
  var frames: [PageEntry] = []
  var zeros: PageEntry?
  for var entry in given.reversed() {
    entry.withdraw(claimed)
    claimed |= entry.data | entry.zero
    if entry.hasFrame {
      frames.append(entry)
    } else if zeros == nil {
      zeros = entry
    } else {
      zeros?.zero |= entry.zero
      zeros?.types |= entry.types
    }
  }
  guard !frames.isEmpty else { return zeros.map { [$0] } ?? [] }
  frames.sort { $0.offset < $1.offset }
  frames[0].zero |= zeros?.zero ?? 0
  frames[0].types |= zeros?.types ?? 0
  return frames
}
