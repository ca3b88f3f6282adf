/// One entry of the page index: the pages of one group that one frame holds, and pages that are zero.
struct PageEntry {
  /// pfn / 16.
  var group: UInt64
  /// Where the frame starts in its epoch's file, below 2^48; 0 without a frame.
  var offset: UInt64
  /// XXH3-64 of the frame's head, which has the checksums of its blocks; 0 without a frame.
  var hash: UInt64
  /// Four bits of page type for each page of either mask, page 0 in the lowest.
  var types: UInt64
  /// Blocks of the frame; 0 without a frame.
  var blocks: UInt8
  /// Bytes of the blocks before the head: those of the group's first eight pages.
  var lower: UInt16
  /// Bytes of the blocks behind the head.
  var upper: UInt16
  /// The epoch whose file holds the frame; 0 without a frame.
  var epoch: UInt32
  /// Pages to be taken from the frame, bit 0 the group's first. Empty only in the epoch's own file: the frame is
  /// there and must be covered, though younger ones replaced all of it.
  var data: UInt16
  /// Pages that are all zero.
  var zero: UInt16
  /// Order in which the writer was given it; not stored.
  var round: UInt32

  var hasFrame: Bool { blocks != 0 }
  var headBytes: UInt64 { UInt64(EpochFormat.headBytes(blocks: Int(blocks))) }
  /// Bytes of the frame, head and blocks.
  var frameBytes: UInt64 { hasFrame ? UInt64(lower) + headBytes + UInt64(upper) : 0 }
  /// Where the head starts in the file.
  var head: UInt64 { offset + UInt64(lower) }
  /// The stretch of the file that has the head and all blocks with pages to be taken.
  var needed: Range<UInt64> {
    let start = data & EpochFormat.lowerHalf == 0 ? head : offset
    return start..<(head + headBytes + (data & ~EpochFormat.lowerHalf == 0 ? 0 : UInt64(upper)))
  }

  /// The type bits of the pages of a mask: each bit four times.
  static func nibbles(_ mask: UInt16) -> UInt64 {
    var bits = UInt64(mask)
    bits = (bits | bits << 24) & 0x0000_00ff_0000_00ff
    bits = (bits | bits << 12) & 0x000f_000f_000f_000f
    bits = (bits | bits << 6) & 0x0303_0303_0303_0303
    bits = (bits | bits << 3) & 0x1111_1111_1111_1111
    return bits * 0xf
  }
}

extension PageEntry {
  /// A group without anything yet.
  init(group: UInt64) {
    self.init(
      group: group, offset: 0, hash: 0, types: 0, blocks: 0, lower: 0, upper: 0, epoch: 0, data: 0, zero: 0, round: 0)
  }

  func encode(to target: UnsafeMutableRawPointer) {
    target.setLittle(0, group | UInt64(blocks) << 40)
    target.setLittle(6, offset | UInt64(lower) << 48)
    target.setLittle(14, upper)
    target.setLittle(16, hash)
    target.setLittle(24, types)
    target.setLittle(32, epoch)
    target.setLittle(36, data)
    target.setLittle(38, zero)
  }

  init(decoding source: UnsafeRawPointer) {
    let first = source.little(0, UInt64.self)
    group = first & (1 << 40 - 1)
    blocks = UInt8(truncatingIfNeeded: first >> 40)
    let second = source.little(6, UInt64.self)
    offset = second & (1 << 48 - 1)
    lower = UInt16(second >> 48)
    upper = source.little(14, UInt16.self)
    hash = source.little(16, UInt64.self)
    types = source.little(24, UInt64.self)
    epoch = source.little(32, UInt32.self)
    data = source.little(36, UInt16.self)
    zero = source.little(38, UInt16.self)
    round = 0
  }
}

extension PageEntry {
  /// Group, whether there is a frame, and data mask of an encoded entry.
  @inline(__always)
  static func glance(_ source: UnsafeRawPointer) -> (group: UInt64, hasFrame: Bool, data: UInt16) {
    let first = source.little(0, UInt64.self)
    return (first & (1 << 40 - 1), first >> 40 & 0xff != 0, source.little(36, UInt16.self))
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
