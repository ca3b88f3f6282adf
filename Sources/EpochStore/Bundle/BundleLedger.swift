import CXXHash

/// What a bundle holds, counted.
public struct BundleTotals: Equatable, Sendable {
  /// Pages with their content or as zeros, and pages that the base has and the epoch does not.
  public internal(set) var pages: UInt64 = 0
  public internal(set) var gonePages: UInt64 = 0
  /// Bytes of disks, and of ranges that became empty.
  public internal(set) var diskBytes: UInt64 = 0
  public internal(set) var unmappedBytes: UInt64 = 0

  public init(pages: UInt64 = 0) { self.pages = pages }
}

/// How far a bundle has come: writer and reader keep it in the same way, so that one can go on where the other found the end.
final class BundleLedger {
  private(set) var chunks: UInt32 = 0
  private(set) var totals = BundleTotals()
  private(set) var isEnded = false
  /// Bytes of the file that disks take.
  private(set) var diskFileBytes: UInt64 = 0
  /// Bytes of the file, up to the end of the last chunk.
  private(set) var offset = UInt64(BundleFormat.headerBytes)
  /// Where the next chunk may begin.
  private(set) var place = BundlePlace()
  private let hashes = XXH3_createState()

  init(_ header: BundleHeader) {
    XXH3_64bits_reset(hashes)
    let bytes = header.encoded
    bytes.withUnsafeBytes { _ = XXH3_64bits_update(hashes, $0.baseAddress, $0.count) }
  }

  deinit { XXH3_freeState(hashes) }

  /// XXH3 of the header and the checksums of all chunks so far.
  var hash: UInt64 { XXH3_64bits_digest(hashes) }

  /// The trailer's content, as it would be now.
  var trailer: [UInt8] {
    let fields = [
      UInt64(chunks), totals.pages, totals.gonePages, totals.diskBytes, totals.unmappedBytes, hash,
    ]
    return fields.flatMap { field in withUnsafeBytes(of: field.littleEndian) { Array($0) } }
  }

  /// Takes a chunk that is sound in itself.
  ///
  /// - Throws: what is wrong with its place or its content.
  func take(_ head: BundleHead, _ content: UnsafeRawBufferPointer, hash: UInt64) throws(BundleFault) {
    guard head.number == chunks else { throw BundleFault("it is chunk \(head.number), not \(chunks)") }
    guard !isEnded else { throw BundleFault("something follows its end") }
    // Whoever goes on after a broken chunk goes on from what the last sound one left.
    var (next, counted) = (place, totals)
    try next.advance(head, content, &counted)
    if head.kind == .end {
      guard content.elementsEqual(trailer) else { throw BundleFault("it does not hold what its end counts") }
      isEnded = true
    }
    (place, totals) = (next, counted)
    withUnsafeBytes(of: hash.littleEndian) { _ = XXH3_64bits_update(hashes, $0.baseAddress, $0.count) }
    chunks += 1
    let bytes = UInt64(BundleFormat.headBytes) + UInt64(head.stored)
    offset += bytes
    if head.kind == .data || head.kind == .unmapped { diskFileBytes += bytes }
  }
}

/// What is wrong with a chunk, in words.
struct BundleFault: Error {
  let text: String
  init(_ text: String) { self.text = text }
}
