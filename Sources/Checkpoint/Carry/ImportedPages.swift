import EpochStore
import Glibc

/// Pages that come out of a file, on their way into an epoch: gathered, so that several threads have something to compress.
final class ImportedPages {
  private let writer: EpochWriter
  private let threads: Int
  private var gathered = 0
  private let pfns = UnsafeMutableBufferPointer<UInt64>.allocate(capacity: capacity)
  private let types = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: capacity)
  private let pages = UnsafeMutableRawBufferPointer.allocate(
    byteCount: capacity * EpochFormat.pageSize, alignment: 4096)
  private static let capacity = 4096

  init(_ writer: EpochWriter, threads: Int) { (self.writer, self.threads) = (writer, threads) }

  deinit {
    pfns.deallocate()
    types.deallocate()
    pages.deallocate()
  }

  /// Pages so far; those that are gathered may be in the epoch already.
  var count: Int { writer.pageCount + gathered }

  /// - Parameter page: 4096 bytes; nil for zeros. A pfn that does not follow the last one only ends what is gathered.
  func add(_ pfn: UInt64, type: UInt8, _ page: UnsafeRawBufferPointer?) throws {
    if gathered == Self.capacity || (gathered > 0 && pfns[gathered - 1] >= pfn) { try flush() }
    (pfns[gathered], types[gathered]) = (pfn, type)
    let target = pages.baseAddress.unsafelyUnwrapped + gathered * EpochFormat.pageSize
    if let source = page?.baseAddress {
      target.copyMemory(from: source, byteCount: EpochFormat.pageSize)
    } else {
      memset(target, 0, EpochFormat.pageSize)
    }
    gathered += 1
  }

  /// The epoch shall not have these.
  func remove(_ pfns: [UInt64]) throws {
    guard !pfns.isEmpty else { return }
    try flush()
    try writer.remove(pfns)
  }

  func flush() throws {
    guard gathered > 0 else { return }
    let staged = StagedPages(
      pfns: UnsafeBufferPointer(rebasing: pfns[..<gathered]), types: UnsafeBufferPointer(rebasing: types[..<gathered]),
      pages: UnsafeRawBufferPointer(rebasing: pages[..<(gathered * EpochFormat.pageSize)]))
    gathered = 0
    try writer.append(staged, threads: threads)
  }
}
