import CLZ4

/// What comes next in a bundle. Bytes are valid until the next call.
public enum BundleItem {
  case description(UnsafeRawBufferPointer)
  /// The next part of the records.
  case records(UnsafeRawBufferPointer)
  case pages(BundlePages)
  case data(disk: Int, offset: UInt64, UnsafeRawBufferPointer)
  case unmapped(disk: Int, Range<UInt64>)
  case end(BundleTotals)
}

/// Reads a bundle, and trusts none of it: a chunk is handed out when its checksum, its place and its inner lengths are right. The memory it
/// takes is bounded whatever stands there.
public final class BundleReader {
  public let header: BundleHeader
  let ledger: BundleLedger
  private let read: (UnsafeMutableRawBufferPointer) throws -> Int
  private let checksum = BundleChecksum()
  private let head: UnsafeMutableRawBufferPointer
  private let stored: UnsafeMutableRawBufferPointer
  private let unpacked: UnsafeMutableRawBufferPointer

  /// - Parameter read: fills the buffer and returns its count; a smaller number means that the source ended.
  /// - Throws: ``BundleError``, or what `read` throws.
  public init(read: @escaping (UnsafeMutableRawBufferPointer) throws -> Int) throws {
    self.read = read
    var bytes = [UInt8](repeating: 0, count: BundleFormat.headerBytes)
    let count = try bytes.withUnsafeMutableBytes { try read($0) }
    guard count == bytes.count else {
      let isBegun = count >= BundleFormat.magicBytes && BundleFormat.isBundle(bytes)
      throw isBegun ? BundleError.cut(at: UInt64(count)) : BundleError.notABundle
    }
    header = try BundleHeader(decoding: bytes)
    ledger = BundleLedger(header)
    // Last: `deinit` is not run when `init` throws.
    head = .allocate(byteCount: BundleFormat.headBytes, alignment: 8)
    stored = .allocate(byteCount: BundleFormat.contentLimit, alignment: 4096)
    unpacked = .allocate(byteCount: BundleFormat.contentLimit, alignment: 4096)
  }

  deinit {
    for buffer in [head, stored, unpacked] { buffer.deallocate() }
  }

  /// Bytes up to the end of the last sound chunk.
  public var offset: UInt64 { ledger.offset }
  /// What they hold.
  public var place: BundlePlace { ledger.place }
  public var totals: BundleTotals { ledger.totals }
  public var isEnded: Bool { ledger.isEnded }

  /// The next item; nil behind the end, where nothing may follow.
  ///
  /// - Throws: ``BundleError``, or what `read` throws. What was handed out before stays true.
  public func next() throws -> BundleItem? {
    let count = try read(head)
    if ledger.isEnded {
      guard count == 0 else { throw damaged("something follows its end") }
      return nil
    }
    guard count == head.count else { throw BundleError.cut(at: ledger.offset + UInt64(count)) }
    let start = UnsafeRawPointer(head.baseAddress.unsafelyUnwrapped)
    guard let parsed = BundleHead(decoding: start) else { throw damaged("it has no chunk there") }
    let body = UnsafeMutableRawBufferPointer(rebasing: stored[..<Int(parsed.stored)])
    let got = try read(body)
    guard got == body.count else { throw BundleError.cut(at: ledger.offset + UInt64(head.count + got)) }
    let sum = checksum.of(start, UnsafeRawBufferPointer(body))
    guard sum == start.little(BundleHead.hashedBytes, UInt64.self) else {
      throw damaged("a chunk does not match its checksum")
    }
    let content = try unpack(parsed, UnsafeRawBufferPointer(body))
    do throws(BundleFault) {
      try ledger.take(parsed, content, hash: sum)
      return try item(parsed, content)
    } catch { throw damaged(error.text) }
  }

  private func unpack(_ head: BundleHead, _ body: UnsafeRawBufferPointer) throws -> UnsafeRawBufferPointer {
    guard head.isPacked else { return body }
    let count = LZ4_decompress_safe(
      body.baseAddress?.assumingMemoryBound(to: CChar.self), unpacked.baseAddress?.assumingMemoryBound(to: CChar.self),
      Int32(body.count), Int32(head.bytes))
    guard count == Int32(head.bytes) else { throw damaged("a chunk cannot be unpacked") }
    return UnsafeRawBufferPointer(rebasing: unpacked[..<Int(count)])
  }

  private func item(_ head: BundleHead, _ content: UnsafeRawBufferPointer) throws(BundleFault) -> BundleItem {
    let disk = Int(head.disk)
    return switch head.kind {
    case .description: .description(content)
    case .records: .records(content)
    case .pages: .pages(try BundlePages(content))
    case .data: .data(disk: disk, offset: head.position, content)
    case .unmapped: .unmapped(disk: disk, head.position..<ledger.place.diskOffset)
    case .end: .end(ledger.totals)
    }
  }

  private func damaged(_ what: String) -> BundleError { .damaged(at: ledger.offset, what) }
}
