/// The place in a bundle up to which it was written or read; whoever goes on begins there.
public struct BundlePlace: Equatable, Sendable {
  public internal(set) var hasDescription = false
  /// Bytes of the records.
  public internal(set) var records: UInt64 = 0
  /// The first pfn that may follow.
  public internal(set) var pfn: UInt64 = 0
  /// The disk, and the first of its bytes, that may follow.
  public internal(set) var disk = 0
  public internal(set) var diskOffset: UInt64 = 0
  private var last = BundleKind.description

  /// Takes a chunk, if it may come here.
  mutating func advance(
    _ head: BundleHead, _ content: UnsafeRawBufferPointer, _ totals: inout BundleTotals
  ) throws(BundleFault) {
    guard (head.kind == .description) != hasDescription, section(head.kind) >= section(last) else {
      throw BundleFault("its chunks are out of order")
    }
    guard head.kind == .data || head.kind == .unmapped || head.disk == 0 else {
      throw BundleFault("it names a disk where there is none")
    }
    switch head.kind {
    case .description: hasDescription = true
    case .records:
      guard head.position == records, !content.isEmpty else { throw BundleFault("its records are out of order") }
      records += UInt64(content.count)
      guard records <= BundleFormat.recordsLimit else { throw BundleFault("its records are too large") }
    case .pages: try take(pages: BundlePages(content), at: head.position, &totals)
    case .data:
      try take(disk: Int(head.disk), at: head.position, count: UInt64(content.count))
      totals.diskBytes += UInt64(content.count)
    case .unmapped:
      guard content.count == 8, let start = content.baseAddress else {
        throw BundleFault("it has a range without an end")
      }
      let count = start.little(0, UInt64.self)
      try take(disk: Int(head.disk), at: head.position, count: count)
      totals.unmappedBytes &+= count
    case .end: break
    }
    last = head.kind
  }

  private func section(_ kind: BundleKind) -> UInt8 {
    kind == .unmapped ? BundleKind.data.rawValue : kind.rawValue
  }

  private mutating func take(
    pages: BundlePages, at position: UInt64, _ totals: inout BundleTotals
  ) throws(BundleFault) {
    guard pages.first == position, position >= pfn else { throw BundleFault("its pages are out of order") }
    pfn = pages.last + 1
    totals.gonePages += UInt64(pages.gone)
    totals.pages += UInt64(pages.count - pages.gone)
  }

  private mutating func take(disk number: Int, at position: UInt64, count: UInt64) throws(BundleFault) {
    if number > disk { (disk, diskOffset) = (number, 0) }
    let sector = BundleFormat.sectorBytes
    guard number == disk, position >= diskOffset, position % sector == 0, count % sector == 0, count > 0,
      position < BundleFormat.diskLimit, count < BundleFormat.diskLimit
    else { throw BundleFault("it has a range of a disk out of order") }
    diskOffset = position + count
  }
}
