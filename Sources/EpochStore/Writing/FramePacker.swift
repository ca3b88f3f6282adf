import CLZ4
import CXXHash

/// What one thread of `EpochWriter.append` owns: an output buffer, scratch space and LZ4's state, all set
/// aside once. Turns groups of pages into frames, and hands full buffers to the file.
final class FramePacker {
  /// Places `count` bytes in the file and writes them; returns where.
  typealias Writer = (UnsafeRawBufferPointer) throws(StoreError) -> UInt64

  /// What came of the pages since the last `take`.
  struct Packed {
    var entries: [PageEntry] = []
    /// Pages that the epoch did not hold before.
    var added = 0
    /// Pages whose content went into frames.
    var stored = 0
    /// Pages that turned to zero.
    var zero = 0
  }

  private var packed = Packed()
  /// Entries from here on still carry offsets inside the output buffer.
  private var unplaced = 0
  private let output: UnsafeMutableRawBufferPointer
  private var used = 0
  /// The pages of a group side by side, for groups with others in between.
  private let gathered: UnsafeMutableRawPointer
  /// The head of the frame in work: its place is known once the blocks before it are packed.
  private let head = UnsafeMutableRawPointer.allocate(
    byteCount: EpochFormat.headBytes(blocks: EpochFormat.frameBlocks), alignment: 8)
  private let lz4State: UnsafeMutableRawPointer
  private let epoch: UInt32
  private let hashes: PageHashes
  private var lastWasRaw = false

  /// Room that a frame may need in the output buffer, whatever its content.
  private static let frameRoom =
    EpochFormat.headBytes(blocks: EpochFormat.frameBlocks) + EpochFormat.frameBlocks
    * Int(LZ4_compressBound(Int32(EpochFormat.blockPages * EpochFormat.pageSize)))

  init(epoch: UInt32, hashes: PageHashes, bufferBytes: Int) {
    self.epoch = epoch
    self.hashes = hashes
    output = .allocate(byteCount: bufferBytes, alignment: 4096)
    gathered = .allocate(byteCount: EpochFormat.groupBytes, alignment: 4096)
    lz4State = .allocate(byteCount: Int(LZ4_sizeofState()), alignment: 64)
  }

  deinit {
    output.deallocate()
    gathered.deallocate()
    head.deallocate()
    lz4State.deallocate()
  }

  /// Adds pages `range` of `staged`, whose bounds do not cut a group, and whose chunks the hashes own. Content that
  /// the hashes know already is left out.
  ///
  /// - Parameter isKnown: all of it is known, and packed all the same; the hashes are left alone.
  func add(
    _ staged: StagedPages, _ range: Range<Int>, round: UInt32, isKnown: Bool = false, writer: Writer
  ) throws(StoreError) {
    let pfns = staged.pfns.baseAddress.unsafelyUnwrapped
    var first = range.lowerBound
    while first < range.upperBound {
      let group = pfns[first] / UInt64(EpochFormat.framePages)
      var end = first &+ 1
      while end < range.upperBound, pfns[end] / UInt64(EpochFormat.framePages) == group { end &+= 1 }
      if output.count - used < Self.frameRoom { try flush(writer) }
      addGroup(group, staged, first, end, round, isKnown)
      first = end
    }
  }

  /// Writes what the output buffer holds and gives its entries their place in the file.
  func flush(_ writer: Writer) throws(StoreError) {
    guard used > 0 else { return }
    let base = try writer(UnsafeRawBufferPointer(rebasing: output[..<used]))
    for index in unplaced..<packed.entries.count where packed.entries[index].hasFrame {
      packed.entries[index].offset += base
    }
    unplaced = packed.entries.count
    used = 0
  }

  /// Hands over what an append that has ended with `flush` made.
  func take() -> Packed {
    defer {
      packed = Packed()
      unplaced = 0
    }
    return packed
  }

  private func addGroup(
    _ group: UInt64, _ staged: StagedPages, _ first: Int, _ end: Int, _ round: UInt32, _ isKnown: Bool
  ) {
    let contents = staged.pages.baseAddress.unsafelyUnwrapped
    var entry = PageEntry(group: group)
    entry.round = round
    var firstData = end
    var lastData = first
    var index = first
    while index < end {
      let page = contents + index &* EpochFormat.pageSize
      let slot = Int(truncatingIfNeeded: staged.pfns[index]) & (EpochFormat.framePages - 1)
      let isZero = isZeroPage(page)
      // The page is in the core's cache now: its hash costs little beside its compression.
      if isKnown
        || isNew(staged.pfns[index], isZero ? PageHashes.zeroPage : PageHashes.hash(page), staged.types[index])
      {
        if isZero {
          entry.zero |= 1 << UInt16(slot)
        } else {
          entry.data |= 1 << UInt16(slot)
          firstData = min(firstData, index)
          lastData = index
        }
      }
      index &+= 1
    }
    let count = entry.data.nonzeroBitCount
    packed.stored &+= count
    packed.zero &+= entry.zero.nonzeroBitCount
    if count > 0 {
      let source: UnsafeRawPointer
      if lastData &- firstData &+ 1 == count {
        source = contents + firstData &* EpochFormat.pageSize
      } else {
        source = gather(staged, firstData...lastData, entry.data)
      }
      pack(source, count, into: &entry)
    }
    if entry.data | entry.zero != 0 { packed.entries.append(entry) }
  }

  /// Takes a page's hash and type over; true when the content is not the one that was known.
  @inline(__always)
  private func isNew(_ pfn: UInt64, _ hash: UInt64, _ type: UInt8) -> Bool {
    let known = hashes.replace(pfn, hash, type: type)
    if known == 0 { packed.added &+= 1 }
    return known != hash
  }

  private func gather(_ staged: StagedPages, _ range: ClosedRange<Int>, _ data: UInt16) -> UnsafeRawPointer {
    let contents = staged.pages.baseAddress.unsafelyUnwrapped
    var target = gathered
    for index in range {
      let slot = Int(truncatingIfNeeded: staged.pfns[index]) & (EpochFormat.framePages - 1)
      guard data & (1 << UInt16(slot)) != 0 else { continue }
      target.copyMemory(from: contents + index &* EpochFormat.pageSize, byteCount: EpochFormat.pageSize)
      target += EpochFormat.pageSize
    }
    return UnsafeRawPointer(gathered)
  }

  /// Returns the bytes of the compressed pages, 0 when LZ4 gave up.
  private func compress(_ source: UnsafeRawPointer, pages: Int, to target: UnsafeMutableRawPointer) -> Int {
    let bytes = Int32(pages * EpochFormat.pageSize)
    return Int(
      LZ4_compress_fast_extState(
        lz4State, source.assumingMemoryBound(to: CChar.self), target.assumingMemoryBound(to: CChar.self), bytes,
        LZ4_compressBound(bytes), 1))
  }

  /// Less than 3 % won is not worth the decompression at restore.
  @inline(__always)
  private static func isWorth(_ length: Int, pages: Int) -> Bool {
    length > 0 && length &* 100 < pages &* EpochFormat.pageSize &* 97
  }

  /// What cannot be compressed mostly stands together: after a raw frame one page speaks for the next frame.
  private func sampleCompresses(_ source: UnsafeRawPointer, pages: Int, scratch: UnsafeMutableRawPointer) -> Bool {
    Self.isWorth(compress(source + pages / 2 * EpochFormat.pageSize, pages: 1, to: scratch), pages: 1)
  }

  /// Appends one frame to the output buffer: the blocks of the lower half, the head that names length and checksum of
  /// each block, the blocks of the upper half.
  private func pack(_ source: UnsafeRawPointer, _ pages: Int, into entry: inout PageEntry) {
    let frame = output.baseAddress.unsafelyUnwrapped + used
    let lowerPages = (entry.data & EpochFormat.lowerHalf).nonzeroBitCount
    let isTried = !lastWasRaw || sampleCompresses(source, pages: pages, scratch: frame)
    lastWasRaw = true
    var named = head + EpochFormat.frameHeaderBytes
    let place = packHalf(source, lowerPages, isTried, &named, to: frame)
    let upper = place + EpochFormat.headBytes(blocks: EpochFormat.blocks(entry.data))
    let end = packHalf(source + lowerPages &* EpochFormat.pageSize, pages - lowerPages, isTried, &named, to: upper)
    entry.blocks = UInt8(EpochFormat.blocks(entry.data))
    entry.lower = UInt16(place - frame)
    entry.upper = UInt16(end - upper)
    entry.offset = UInt64(used)
    entry.epoch = epoch
    finishHead(&entry)
    place.copyMemory(from: head, byteCount: Int(entry.headBytes))
    used &+= end - frame
  }

  /// Packs pages in blocks and names these in the head. Returns where the blocks end.
  private func packHalf(
    _ source: UnsafeRawPointer, _ pages: Int, _ isTried: Bool, _ named: inout UnsafeMutableRawPointer,
    to start: UnsafeMutableRawPointer
  ) -> UnsafeMutableRawPointer {
    var target = start
    for first in stride(from: 0, to: pages, by: EpochFormat.blockPages) {
      let count = min(EpochFormat.blockPages, pages - first)
      let content = source + first &* EpochFormat.pageSize
      var length = isTried ? compress(content, pages: count, to: target) : 0
      if Self.isWorth(length, pages: count) {
        lastWasRaw = false
      } else {
        length = count &* EpochFormat.pageSize
        target.copyMemory(from: content, byteCount: length)
      }
      named.setLittle(0, UInt16(length))
      named.setLittle(2, XXH3_64bits(target, length))
      named += EpochFormat.blockEntryBytes
      target += length
    }
    return target
  }

  private func finishHead(_ entry: inout PageEntry) {
    head.setLittle(0, EpochFormat.frameMagic)
    head.setLittle(4, UInt16(0))
    head.setLittle(6, entry.data)
    head.setLittle(8, entry.group)
    head.setLittle(16, entry.lower)
    head.setLittle(18, entry.upper)
    entry.hash = XXH3_64bits(head, Int(entry.headBytes))
  }
}

/// True when all 4096 bytes are zero. Stops at the first 64-byte line that is not.
@inline(__always)
func isZeroPage(_ page: UnsafeRawPointer) -> Bool {
  var offset = 0
  while offset < EpochFormat.pageSize {
    let line = page + offset
    var bits = line.load(fromByteOffset: 0, as: UInt64.self) | line.load(fromByteOffset: 8, as: UInt64.self)
    bits |= line.load(fromByteOffset: 16, as: UInt64.self) | line.load(fromByteOffset: 24, as: UInt64.self)
    bits |= line.load(fromByteOffset: 32, as: UInt64.self) | line.load(fromByteOffset: 40, as: UInt64.self)
    bits |= line.load(fromByteOffset: 48, as: UInt64.self) | line.load(fromByteOffset: 56, as: UInt64.self)
    if bits != 0 { return false }
    offset &+= 64
  }
  return true
}
