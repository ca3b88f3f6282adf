import CLZ4
import CXXHash

/// Turns stored frames back into pages. Trusts nothing: the frame may be any bytes.
final class FrameUnpacker {
  private let files: EpochFiles
  /// A block whose pages do not all go side by side is unpacked here first.
  private let scratch = UnsafeMutableRawPointer.allocate(
    byteCount: EpochFormat.blockPages * EpochFormat.pageSize, alignment: 4096)

  init(files: EpochFiles) { self.files = files }
  deinit { scratch.deallocate() }

  /// Checks a frame against its index entry and unpacks all of it.
  func check(_ frame: UnsafeRawPointer, _ entry: PageEntry) throws(StoreError) {
    try forEachBlock(frame, entry) { block throws(StoreError) in try unpack(block, entry, to: scratch) }
  }

  /// Unpacks the pages that `entry` answers for, and no block without one. Page `s` of the group goes to `target` plus as
  /// many pages as `wanted` has bits below `s`: the other pages of `wanted` come from elsewhere.
  func unpack(
    _ frame: UnsafeRawPointer, _ entry: PageEntry, wanted: UInt16, to target: UnsafeMutableRawPointer
  ) throws(StoreError) {
    try forEachBlock(frame, entry) { block throws(StoreError) in
      let mask = entry.data & block.mask
      if mask == 0 { return }
      let first = Self.position(mask.trailingZeroBitCount, wanted)
      let last = Self.position(15 - mask.leadingZeroBitCount, wanted)
      if mask == block.mask, last - first + 1 == mask.nonzeroBitCount {
        try unpack(block, entry, to: target + first * EpochFormat.pageSize)
        return
      }
      // Nothing behind the last page that is needed.
      let needed = Self.position(15 - mask.leadingZeroBitCount, block.mask) + 1
      try unpack(block, entry, first: needed, to: scratch)
      var rest = mask
      while rest != 0 {
        let slot = rest.trailingZeroBitCount
        rest &= rest &- 1
        (target + Self.position(slot, wanted) * EpochFormat.pageSize).copyMemory(
          from: scratch + Self.position(slot, block.mask) * EpochFormat.pageSize, byteCount: EpochFormat.pageSize)
      }
    }
  }

  /// How many bits of `mask` are below bit `slot`.
  static func position(_ slot: Int, _ mask: UInt16) -> Int {
    (mask & (1 << UInt16(slot) &- 1)).nonzeroBitCount
  }

  /// Pages that were compressed together.
  private struct Block {
    let mask: UInt16
    let bytes: UnsafeRawPointer
    let length: Int
  }

  /// Checks hash, header and lengths, and hands out the blocks.
  @inline(__always)
  private func forEachBlock(
    _ frame: UnsafeRawPointer, _ entry: PageEntry, _ body: (Block) throws(StoreError) -> Void
  ) throws(StoreError) {
    var rest = try header(frame, entry)
    let lengths = frame + EpochFormat.frameHeaderBytes
    var next = EpochFormat.blocks(pages: rest.nonzeroBitCount) * 2
    var number = 0
    while rest != 0 {
      let mask = Self.lowest(rest)
      rest &= ~mask
      guard number * 2 + 2 <= entry.length else { throw damaged(entry, "has the wrong length") }
      let length = Int(lengths.little(number * 2, UInt16.self))
      guard next + length <= entry.length else { throw damaged(entry, "has the wrong length") }
      try body(Block(mask: mask, bytes: lengths + next, length: length))
      next += length
      number += 1
    }
    guard next == entry.length else { throw damaged(entry, "has the wrong length") }
  }

  /// The pages of the next block: the lowest of those that are left.
  private static func lowest(_ mask: UInt16) -> UInt16 {
    var rest = mask
    for _ in 0..<EpochFormat.blockPages { rest &= rest &- 1 }
    return mask & ~rest
  }

  /// Checks hash and header; returns the mask of the pages in the payload.
  private func header(_ frame: UnsafeRawPointer, _ entry: PageEntry) throws(StoreError) -> UInt16 {
    guard XXH3_64bits(frame, Int(entry.frameBytes)) == entry.hash else {
      throw damaged(entry, "does not match its checksum")
    }
    let mask = frame.little(6, UInt16.self)
    guard frame.little(0, UInt32.self) == EpochFormat.frameMagic, frame.little(4, UInt16.self) == 0,
      frame.little(8, UInt64.self) == entry.group, frame.little(16, UInt32.self) == entry.length, mask != 0,
      entry.data & ~mask == 0
    else { throw damaged(entry, "is not the frame that the index names") }
    return mask
  }

  /// Unpacks a block, or only its first pages.
  private func unpack(
    _ block: Block, _ entry: PageEntry, first: Int? = nil, to target: UnsafeMutableRawPointer
  ) throws(StoreError) {
    let bytes = block.mask.nonzeroBitCount * EpochFormat.pageSize
    let wanted = first.map { $0 * EpochFormat.pageSize } ?? bytes
    if block.length == bytes {
      target.copyMemory(from: block.bytes, byteCount: wanted)
      return
    }
    let source = block.bytes.assumingMemoryBound(to: CChar.self)
    let place = target.assumingMemoryBound(to: CChar.self)
    let length =
      wanted == bytes
      ? LZ4_decompress_safe(source, place, Int32(block.length), Int32(bytes))
      : LZ4_decompress_safe_partial(source, place, Int32(block.length), Int32(wanted), Int32(wanted))
    guard Int(length) == wanted else { throw damaged(entry, "does not decompress to its pages") }
  }

  private func damaged(_ entry: PageEntry, _ what: String) -> StoreError { files.damaged(entry, what) }
}
