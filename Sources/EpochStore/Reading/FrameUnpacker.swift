import CLZ4
import CXXHash

/// Turns stored frames back into pages. Trusts nothing: the frame may be any bytes.
///
/// The index vouches for a frame's head, the head for each block. So only the blocks that are needed are looked at.
final class FrameUnpacker {
  private let files: EpochFiles
  /// A block whose pages do not all go side by side is unpacked here first.
  private let scratch = UnsafeMutableRawPointer.allocate(
    byteCount: EpochFormat.blockPages * EpochFormat.pageSize, alignment: 4096)

  init(files: EpochFiles) { self.files = files }
  deinit { scratch.deallocate() }

  /// What is wrong with a frame: in words, and with which of its pages.
  struct Damage {
    let error: StoreError
    let pages: UInt16
  }

  /// Checks a frame against its index entry and unpacks it; nil when it is sound.
  ///
  /// - Parameters:
  ///   - head: the frame's head, with all blocks of the frame around it.
  ///   - whole: look at all of it, not only at the blocks with pages that `entry` answers for.
  func damage(_ head: UnsafeRawPointer, _ entry: PageEntry, whole: Bool) -> Damage? {
    var found: Damage?
    do throws(StoreError) {
      try forEachBlock(head, entry) { block throws(StoreError) in
        guard whole || entry.data & block.mask != 0 else { return }
        do throws(StoreError) {
          try check(block, entry)
          try unpack(block, entry, pages: block.mask.nonzeroBitCount, to: scratch)
        } catch { found = Damage(error: found?.error ?? error, pages: (found?.pages ?? 0) | block.mask) }
      }
    } catch { found = Damage(error: error, pages: .max) }
    return found
  }

  /// Unpacks the pages that `entry` answers for, and no block without one. Page `s` of the group goes to `target` plus as
  /// many pages as `wanted` has bits below `s`: the other pages of `wanted` come from elsewhere.
  ///
  /// - Parameter head: the frame's head, with as much around it as `entry.needed` says.
  func unpack(
    _ head: UnsafeRawPointer, _ entry: PageEntry, wanted: UInt16, to target: UnsafeMutableRawPointer
  ) throws(StoreError) {
    try forEachBlock(head, entry) { block throws(StoreError) in
      let mask = entry.data & block.mask
      if mask == 0 { return }
      try check(block, entry)
      let count = mask.nonzeroBitCount
      let first = Self.position(mask.trailingZeroBitCount, wanted)
      let last = Self.position(15 - mask.leadingZeroBitCount, wanted)
      // Nothing behind the last page that is needed.
      let needed = Self.position(15 - mask.leadingZeroBitCount, block.mask) + 1
      if needed == count, last - first + 1 == count {
        try unpack(block, entry, pages: needed, to: target + first * EpochFormat.pageSize)
        return
      }
      try unpack(block, entry, pages: needed, to: scratch)
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
    let hash: UInt64
  }

  /// Checks the head and hands out the blocks, unchecked and maybe not read: those of the lower half from before the
  /// head, then the others.
  @inline(__always)
  private func forEachBlock(
    _ head: UnsafeRawPointer, _ entry: PageEntry, _ body: (Block) throws(StoreError) -> Void
  ) throws(StoreError) {
    let mask = try pages(head, entry)
    var named = head + EpochFormat.frameHeaderBytes
    let upper = head + Int(entry.headBytes)
    try forEachBlock(of: mask & EpochFormat.lowerHalf, (head - Int(entry.lower))..<head, &named, entry, body)
    try forEachBlock(of: mask & ~EpochFormat.lowerHalf, upper..<(upper + Int(entry.upper)), &named, entry, body)
  }

  @inline(__always)
  private func forEachBlock(
    of half: UInt16, _ bytes: Range<UnsafeRawPointer>, _ named: inout UnsafeRawPointer, _ entry: PageEntry,
    _ body: (Block) throws(StoreError) -> Void
  ) throws(StoreError) {
    var rest = half
    var next = bytes.lowerBound
    while rest != 0 {
      let mask = Self.lowest(rest)
      rest &= ~mask
      let length = Int(named.little(0, UInt16.self))
      guard length <= bytes.upperBound - next else { throw damaged(entry, "has the wrong length") }
      try body(Block(mask: mask, bytes: next, length: length, hash: named.little(2, UInt64.self)))
      named += EpochFormat.blockEntryBytes
      next += length
    }
    guard next == bytes.upperBound else { throw damaged(entry, "has the wrong length") }
  }

  /// The pages of the next block: the lowest of those that are left.
  private static func lowest(_ mask: UInt16) -> UInt16 {
    var rest = mask
    for _ in 0..<EpochFormat.blockPages { rest &= rest &- 1 }
    return mask & ~rest
  }

  /// Checks the head's hash and content; returns the mask of the pages in the blocks.
  private func pages(_ head: UnsafeRawPointer, _ entry: PageEntry) throws(StoreError) -> UInt16 {
    guard XXH3_64bits(head, Int(entry.headBytes)) == entry.hash else {
      throw damaged(entry, "has a head that does not match its checksum")
    }
    let mask = head.little(6, UInt16.self)
    guard head.little(0, UInt32.self) == EpochFormat.frameMagic, head.little(4, UInt16.self) == 0,
      head.little(8, UInt64.self) == entry.group, head.little(16, UInt16.self) == entry.lower,
      head.little(18, UInt16.self) == entry.upper, EpochFormat.blocks(mask) == Int(entry.blocks),
      entry.data & ~mask == 0
    else { throw damaged(entry, "is not the frame that the index names") }
    return mask
  }

  private func check(_ block: Block, _ entry: PageEntry) throws(StoreError) {
    guard XXH3_64bits(block.bytes, block.length) == block.hash else {
      let pfn = entry.group * UInt64(EpochFormat.framePages) + UInt64(block.mask.trailingZeroBitCount)
      throw damaged(entry, "has a block, that of pfn \(pfn), that does not match its checksum")
    }
  }

  /// Unpacks the first pages of a block.
  private func unpack(
    _ block: Block, _ entry: PageEntry, pages: Int, to target: UnsafeMutableRawPointer
  ) throws(StoreError) {
    let bytes = block.mask.nonzeroBitCount * EpochFormat.pageSize
    let wanted = pages * EpochFormat.pageSize
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
