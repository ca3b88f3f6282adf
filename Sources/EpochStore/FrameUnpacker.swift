import CLZ4
import CXXHash

/// Turns stored frames back into pages. Trusts nothing: the frame may be any bytes.
final class FrameUnpacker {
  private let files: EpochFiles
  /// A frame whose pages do not all go side by side is unpacked here first.
  private let scratch = UnsafeMutableRawPointer.allocate(byteCount: EpochFormat.groupBytes, alignment: 4096)

  init(files: EpochFiles) { self.files = files }
  deinit { scratch.deallocate() }

  /// Checks a frame against its index entry and unpacks it into the scratch buffer.
  func check(_ frame: UnsafeRawPointer, _ entry: PageEntry) throws(StoreError) {
    let mask = try header(frame, entry)
    try payload(frame, entry, mask, to: scratch)
  }

  /// Unpacks the pages that `entry` answers for. Page `s` of the group goes to `target` plus as many pages as
  /// `wanted` has bits below `s`: the other pages of `wanted` come from elsewhere.
  func unpack(
    _ frame: UnsafeRawPointer, _ entry: PageEntry, wanted: UInt16, to target: UnsafeMutableRawPointer
  ) throws(StoreError) {
    let mask = try header(frame, entry)
    let first = Self.position(entry.data.trailingZeroBitCount, wanted)
    let last = Self.position(15 - entry.data.leadingZeroBitCount, wanted)
    if mask == entry.data, last - first + 1 == mask.nonzeroBitCount {
      try payload(frame, entry, mask, to: target + first * EpochFormat.pageSize)
      return
    }
    try payload(frame, entry, mask, to: scratch)
    for slot in 0..<EpochFormat.framePages where entry.data & (1 << UInt16(slot)) != 0 {
      let source = scratch + Self.position(slot, mask) * EpochFormat.pageSize
      (target + Self.position(slot, wanted) * EpochFormat.pageSize).copyMemory(
        from: source, byteCount: EpochFormat.pageSize)
    }
  }

  /// How many bits of `mask` are below bit `slot`.
  static func position(_ slot: Int, _ mask: UInt16) -> Int {
    (mask & (1 << UInt16(slot) &- 1)).nonzeroBitCount
  }

  /// Checks hash and header; returns the mask of the pages in the payload.
  private func header(_ frame: UnsafeRawPointer, _ entry: PageEntry) throws(StoreError) -> UInt16 {
    guard XXH3_64bits(frame, Int(entry.frameBytes)) == entry.hash else {
      throw damaged(entry, "does not match its checksum")
    }
    let mask = frame.little(6, UInt16.self)
    guard frame.little(0, UInt32.self) == EpochFormat.frameMagic, frame.little(8, UInt64.self) == entry.group,
      frame.little(16, UInt32.self) == entry.length, mask != 0, entry.data & ~mask == 0
    else { throw damaged(entry, "is not the frame that the index names") }
    return mask
  }

  private func payload(
    _ frame: UnsafeRawPointer, _ entry: PageEntry, _ mask: UInt16, to target: UnsafeMutableRawPointer
  ) throws(StoreError) {
    let source = frame + EpochFormat.frameHeaderBytes
    let bytes = mask.nonzeroBitCount * EpochFormat.pageSize
    switch frame.little(4, UInt16.self) {
    case FrameFlags.raw:
      guard Int(entry.length) == bytes else { throw damaged(entry, "has the wrong length") }
      target.copyMemory(from: source, byteCount: bytes)
    case FrameFlags.lz4:
      let length = LZ4_decompress_safe(
        source.assumingMemoryBound(to: CChar.self), target.assumingMemoryBound(to: CChar.self),
        Int32(entry.length), Int32(bytes))
      guard Int(length) == bytes else { throw damaged(entry, "does not decompress to its pages") }
    default: throw damaged(entry, "is stored in an unknown way")
    }
  }

  private func damaged(_ entry: PageEntry, _ what: String) -> StoreError {
    .damaged(
      path: files.path(entry.epoch), what: "the frame of pfn \(entry.group * 16) at byte \(entry.offset) \(what)")
  }
}
