import CLZ4

/// Writes a bundle, front to back: description, records, pages, disks, end. Seeks nowhere, so it may go into a pipe.
///
/// The caller keeps the order. What the reader would refuse is refused, for who goes on with a bundle knows only its end.
public final class BundleWriter {
  private let ledger: BundleLedger
  private let write: (UnsafeRawBufferPointer) throws -> Void
  private let pages = BundlePageList()
  private let packed: UnsafeMutableRawBufferPointer
  private let checksum = BundleChecksum()
  /// What is not made at least so much smaller by LZ4 stays as it is, in hundredths.
  private static let worthPacking = 97

  private init(_ ledger: BundleLedger, _ write: @escaping (UnsafeRawBufferPointer) throws -> Void) {
    self.ledger = ledger
    self.write = write
    packed = .allocate(
      byteCount: BundleFormat.headBytes + Int(LZ4_compressBound(Int32(BundleFormat.contentLimit))), alignment: 4096)
  }

  /// Begins a bundle.
  ///
  /// - Parameter write: takes all of the bytes, or throws.
  public convenience init(
    _ header: BundleHeader, write: @escaping (UnsafeRawBufferPointer) throws -> Void
  ) throws {
    self.init(BundleLedger(header), write)
    try header.encoded.withUnsafeBytes { try write($0) }
  }

  /// Goes on with the bundle that a reader read up to its last sound chunk; what is written comes right behind that, at the reader's
  /// ``BundleReader/offset``.
  public convenience init(
    continuing reader: BundleReader, write: @escaping (UnsafeRawBufferPointer) throws -> Void
  ) {
    self.init(reader.ledger, write)
  }

  deinit { packed.deallocate() }

  /// Up to where it was written.
  public var place: BundlePlace { ledger.place }
  /// Bytes of the bundle so far.
  public var offset: UInt64 { ledger.offset }
  public var totals: BundleTotals { ledger.totals }
  /// Bytes of the bundle that disks take.
  public var diskFileBytes: UInt64 { ledger.diskFileBytes }

  public func add(description: [UInt8]) throws {
    try description.withUnsafeBytes { try put(BundleHead(kind: .description), $0) }
  }

  /// The next part of the records, at most ``BundleFormat/dataBytes``.
  public func add(records: UnsafeRawBufferPointer) throws {
    try put(BundleHead(kind: .records, position: place.records), records)
  }

  /// A page of 4096 bytes, or nil for one that the base has and the epoch does not. Ascending.
  public func add(page: UnsafeRawPointer?, pfn: UInt64, type: UInt8) throws {
    pages.add(pfn, type: type, page)
    if pages.isFull { try endPages() }
  }

  /// All pages were given.
  public func endPages() throws {
    guard !pages.isEmpty else { return }
    let (first, bytes) = pages.take()
    try put(BundleHead(kind: .pages, position: first), bytes)
  }

  /// Bytes of a disk, at most ``BundleFormat/dataBytes``.
  public func add(data: UnsafeRawBufferPointer, disk: Int, at offset: UInt64) throws {
    try put(BundleHead(kind: .data, disk: UInt16(disk), position: offset), data)
  }

  /// A range of a disk that is empty now, where the base has something.
  public func add(unmapped range: Range<UInt64>, disk: Int) throws {
    let count = (range.upperBound - range.lowerBound).littleEndian
    try withUnsafeBytes(of: count) {
      try put(BundleHead(kind: .unmapped, disk: UInt16(disk), position: range.lowerBound), $0)
    }
  }

  public func end() throws {
    try ledger.trailer.withUnsafeBytes { try put(BundleHead(kind: .end), $0) }
  }

  /// - Throws: ``BundleError/damaged(at:_:)`` for a chunk that may not come here; nothing of it was written.
  private func put(_ head: BundleHead, _ content: UnsafeRawBufferPointer) throws {
    precondition(content.count <= BundleFormat.contentLimit, "a chunk has a bounded content")
    var head = head
    head.number = ledger.chunks
    head.bytes = UInt32(content.count)
    let stored = pack(content, &head)
    let start = packed.baseAddress.unsafelyUnwrapped
    head.encode(to: start)
    let sum = checksum.of(UnsafeRawPointer(start), stored)
    start.setLittle(BundleHead.hashedBytes, sum)
    do throws(BundleFault) { try ledger.take(head, content, hash: sum) } catch {
      throw BundleError.damaged(at: ledger.offset, error.text)
    }
    if head.isPacked {
      try write(UnsafeRawBufferPointer(rebasing: packed[..<(BundleFormat.headBytes + stored.count)]))
    } else {
      try write(UnsafeRawBufferPointer(rebasing: packed[..<BundleFormat.headBytes]))
      try write(stored)
    }
  }

  /// What is to stand behind the head: the content, or what LZ4 makes of it, if that is worth it.
  private func pack(_ content: UnsafeRawBufferPointer, _ head: inout BundleHead) -> UnsafeRawBufferPointer {
    let target = packed.baseAddress.unsafelyUnwrapped + BundleFormat.headBytes
    let source = content.baseAddress?.assumingMemoryBound(to: CChar.self)
    let count = Int(
      LZ4_compress_default(
        source, target.assumingMemoryBound(to: CChar.self), Int32(content.count),
        Int32(packed.count - BundleFormat.headBytes)))
    head.isPacked = count > 0 && count * 100 < content.count * Self.worthPacking
    let stored = head.isPacked ? UnsafeRawBufferPointer(start: target, count: count) : content
    head.stored = UInt32(stored.count)
    return stored
  }
}
