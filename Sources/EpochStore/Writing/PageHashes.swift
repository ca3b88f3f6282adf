import CXXHash
import Synchronization

/// Content hash and type of every page of one epoch: 8.5 bytes per page of guest memory, in chunks of 512 pages,
/// so that the holes of a guest's address space cost nothing.
///
/// A copy shares its chunks with the original until one of them is written to. Reading is safe from any number of
/// threads while nobody writes; `replace` may run on several threads when no two of them work on the same group.
///
/// Two different pages with the same XXH64 would pass for the same content. By accident that does not happen
/// (2^-64 per page compared); a guest can make it happen on purpose, because XXH64 is no cryptographic hash, but all it
/// gains is that its own page comes back with an older content of its own: it hurts its own epochs and no one else's.
final class PageHashes: @unchecked Sendable {
  static let chunkPages = 512
  /// Bytes of a chunk's content: hashes, then types, four bits each.
  static let chunkBytes = chunkPages * 8 + chunkPages / 2
  /// Bytes of a chunk in the cache file: number, then content.
  static let entryBytes = 8 + chunkBytes
  static let chunkLimit = EpochFormat.pfnLimit / UInt64(chunkPages)

  /// Pages held. Kept by those who write, because `replace` runs on many threads.
  var count = 0

  private typealias Chunks = UnsafeMutablePointer<UnsafeMutableRawPointer?>
  /// Two steps from pfn to chunk: a region is 512 chunks, 1 GiB of guest memory.
  private var regions: UnsafeMutablePointer<Chunks?>
  private var regionCount = 0
  private static let regionChunks = 512
  /// In front of a chunk's content: how many tables share it, its checksum, its number.
  private static let headBytes = 24
  private static let typesOffset = headBytes + chunkPages * 8

  /// A chunk as the cache file has it.
  struct Chunk {
    fileprivate let start: UnsafeMutableRawPointer

    /// Number and content.
    var entry: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: start + 16, count: PageHashes.entryBytes) }
    /// XXH3 of the entry when it was sealed; 0 when it has changed since.
    var checksum: UInt64 { start.load(fromByteOffset: 8, as: UInt64.self) }
    var hasChanged: Bool { checksum == 0 }

    /// Takes the checksum. Whoever writes to the chunk breaks the seal.
    func seal() {
      start.storeBytes(of: XXH3_64bits(entry.baseAddress, entry.count), toByteOffset: 8, as: UInt64.self)
    }

    fileprivate func breakSeal() { start.storeBytes(of: 0, toByteOffset: 8, as: UInt64.self) }
  }

  init() { regions = .allocate(capacity: 0) }

  init(sharing other: PageHashes) {
    count = other.count
    regionCount = other.regionCount
    regions = .allocate(capacity: regionCount)
    for region in 0..<regionCount {
      guard let source = other.regions[region] else {
        (regions + region).initialize(to: nil)
        continue
      }
      let chunks = Self.newRegion()
      for slot in 0..<Self.regionChunks {
        chunks[slot] = source[slot]
        if let chunk = source[slot] { Self.owners(chunk).pointee.wrappingAdd(1, ordering: .relaxed) }
      }
      (regions + region).initialize(to: chunks)
    }
  }

  deinit {
    for region in 0..<regionCount {
      guard let chunks = regions[region] else { continue }
      for slot in 0..<Self.regionChunks { if let chunk = chunks[slot] { Self.release(chunk) } }
      chunks.deallocate()
    }
    regions.deallocate()
  }

  /// The hash under which a page is known; 0 stands for no page.
  @inline(__always)
  static func hash(_ page: UnsafeRawPointer) -> UInt64 {
    // XXH64 and not XXH3: as quick on a processor of today, and eight times quicker where vector instructions are emulated.
    let hash = XXH64(page, EpochFormat.pageSize, 0)
    return hash == 0 ? 1 : hash
  }

  static let zeroPage: UInt64 = [UInt8](repeating: 0, count: EpochFormat.pageSize).withUnsafeBytes {
    hash($0.baseAddress.unsafelyUnwrapped)
  }

  // MARK: Reading

  /// 0: the page is not held.
  @inline(__always)
  subscript(pfn: UInt64) -> UInt64 {
    guard let chunk = chunk(pfn) else { return 0 }
    return chunk.load(fromByteOffset: Self.headBytes + Self.slot(pfn) &* 8, as: UInt64.self)
  }

  @inline(__always)
  func type(_ pfn: UInt64) -> UInt8 {
    guard let chunk = chunk(pfn) else { return 0 }
    return UInt8(truncatingIfNeeded: Self.types(chunk, pfn).pointee >> (pfn & 15 &* 4)) & 0xf
  }

  /// Which pages of a group are held, and their types as an index entry has them.
  func group(_ group: UInt64) -> (held: UInt16, types: UInt64) {
    let first = group * UInt64(EpochFormat.framePages)
    guard let chunk = chunk(first) else { return (0, 0) }
    let hashes = chunk + Self.headBytes + Self.slot(first) * 8
    var held: UInt16 = 0
    for slot in 0..<EpochFormat.framePages where hashes.load(fromByteOffset: slot * 8, as: UInt64.self) != 0 {
      held |= 1 << UInt16(slot)
    }
    return (held, Self.types(chunk, first).pointee)
  }

  /// True when nothing of a group's chunk can have changed since this table was made from another. False proves nothing.
  func isShared(group: UInt64) -> Bool {
    guard let chunk = chunk(group * UInt64(EpochFormat.framePages)) else { return false }
    return Self.owners(chunk).pointee.load(ordering: .acquiring) > 1
  }

  func forEachPFN(_ body: (UInt64) -> Void) {
    forEachChunk { chunk in
      let entry = chunk.entry.baseAddress.unsafelyUnwrapped
      let first = entry.load(as: UInt64.self) * UInt64(Self.chunkPages)
      for slot in 0..<Self.chunkPages where entry.load(fromByteOffset: 8 + slot * 8, as: UInt64.self) != 0 {
        body(first + UInt64(slot))
      }
    }
  }

  /// Every chunk in the order of their numbers.
  func forEachChunk<Failure: Error>(_ body: (Chunk) throws(Failure) -> Void) throws(Failure) {
    for region in 0..<regionCount {
      guard let chunks = regions[region] else { continue }
      for slot in 0..<Self.regionChunks { if let chunk = chunks[slot] { try body(Chunk(start: chunk)) } }
    }
  }

  var chunkCount: Int {
    var count = 0
    forEachChunk { _ in count += 1 }
    return count
  }

  // MARK: Writing

  /// Makes the chunk of a page this table's own; `replace` and `remove` want that first.
  func own(_ pfn: UInt64) {
    let region = Int(pfn / UInt64(Self.chunkPages * Self.regionChunks))
    grow(to: region + 1)
    let chunks = regions[region] ?? Self.newRegion()
    regions[region] = chunks
    let slot = Int(pfn / UInt64(Self.chunkPages)) % Self.regionChunks
    let number = pfn / UInt64(Self.chunkPages)
    guard let shared = chunks[slot] else {
      chunks[slot] = Self.newChunk(number)
      return
    }
    guard Self.owners(shared).pointee.load(ordering: .acquiring) > 1 else { return Chunk(start: shared).breakSeal() }
    let chunk = Self.newChunk(number)
    (chunk + Self.headBytes).copyMemory(from: shared + Self.headBytes, byteCount: Self.chunkBytes)
    chunks[slot] = chunk
    Self.release(shared)
  }

  /// Sets a page's hash and type; returns the hash that it had.
  @inline(__always)
  func replace(_ pfn: UInt64, _ hash: UInt64, type: UInt8) -> UInt64 {
    let chunk = chunk(pfn).unsafelyUnwrapped
    let place = (chunk + Self.headBytes + Self.slot(pfn) &* 8).assumingMemoryBound(to: UInt64.self)
    let shift = pfn & 15 &* 4
    let types = Self.types(chunk, pfn)
    types.pointee = types.pointee & ~(0xf << shift) | UInt64(type) << shift
    let old = place.pointee
    place.pointee = hash
    return old
  }

  /// Forgets a page; one that is not held is as good.
  func remove(_ pfn: UInt64) {
    guard self[pfn] != 0 else { return }
    own(pfn)
    _ = replace(pfn, 0, type: 0)
    count -= 1
  }

  /// Makes a chunk that does not exist yet out of its content; the caller adds to `count`.
  func newChunk(_ number: UInt64, copying content: UnsafeRawPointer) -> Chunk {
    let pfn = number * UInt64(Self.chunkPages)
    own(pfn)
    let chunk = chunk(pfn).unsafelyUnwrapped
    (chunk + Self.headBytes).copyMemory(from: content, byteCount: Self.chunkBytes)
    return Chunk(start: chunk)
  }

  // MARK: Chunks

  @inline(__always)
  private func chunk(_ pfn: UInt64) -> UnsafeMutableRawPointer? {
    let number = Int(truncatingIfNeeded: pfn / UInt64(Self.chunkPages))
    let region = number / Self.regionChunks
    guard region < regionCount, let chunks = regions[region] else { return nil }
    return chunks[number % Self.regionChunks]
  }

  @inline(__always)
  private static func slot(_ pfn: UInt64) -> Int { Int(truncatingIfNeeded: pfn) & (chunkPages - 1) }

  /// The types of the page's group.
  @inline(__always)
  private static func types(_ chunk: UnsafeMutableRawPointer, _ pfn: UInt64) -> UnsafeMutablePointer<UInt64> {
    (chunk + typesOffset + slot(pfn) / EpochFormat.framePages &* 8).assumingMemoryBound(to: UInt64.self)
  }

  private func grow(to count: Int) {
    guard count > regionCount else { return }
    let larger = UnsafeMutablePointer<Chunks?>.allocate(capacity: count)
    larger.moveInitialize(from: regions, count: regionCount)
    (larger + regionCount).initialize(repeating: nil, count: count - regionCount)
    regions.deallocate()
    (regions, regionCount) = (larger, count)
  }

  private static func newRegion() -> Chunks {
    let chunks = Chunks.allocate(capacity: regionChunks)
    chunks.initialize(repeating: nil, count: regionChunks)
    return chunks
  }

  private static func newChunk(_ number: UInt64) -> UnsafeMutableRawPointer {
    let chunk = UnsafeMutableRawPointer.allocate(byteCount: headBytes + chunkBytes, alignment: 16)
    chunk.initializeMemory(as: UInt8.self, repeating: 0, count: headBytes + chunkBytes)
    owners(chunk).initialize(to: Atomic(1))
    chunk.storeBytes(of: number, toByteOffset: 16, as: UInt64.self)
    return chunk
  }

  private static func owners(_ chunk: UnsafeMutableRawPointer) -> UnsafeMutablePointer<Atomic<Int>> {
    chunk.assumingMemoryBound(to: Atomic<Int>.self)
  }

  private static func release(_ chunk: UnsafeMutableRawPointer) {
    if owners(chunk).pointee.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue == 0 { chunk.deallocate() }
  }
}
