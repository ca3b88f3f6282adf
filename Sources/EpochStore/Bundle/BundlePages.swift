import Glibc

/// The content of a chunk of pages, checked: how many, a word for each, ascending, and 4096 bytes for those that have them.
///
/// A word is a pfn with, in bits 59...56, what is told of the page, and in bits 63...60 its type.
public struct BundlePages {
  private let words: UnsafeRawPointer
  private let content: UnsafeRawBufferPointer
  public let count: Int
  /// Those that the base has and the epoch does not.
  let gone: Int

  /// What is told of a page.
  public enum Told: UInt8, Sendable {
    case content = 0
    case zero = 1
    case gone = 2
  }

  static let countBytes = 8
  static let wordBytes = 8

  init(_ bytes: UnsafeRawBufferPointer) throws(BundleFault) {
    let fault = BundleFault("its list of pages does not fit")
    guard let start = bytes.baseAddress, bytes.count >= Self.countBytes else { throw fault }
    let count = start.little(0, UInt64.self)
    guard 1...UInt64((bytes.count - Self.countBytes) / Self.wordBytes) ~= count else { throw fault }
    self.count = Int(count)
    words = start + Self.countBytes
    content = UnsafeRawBufferPointer(rebasing: bytes[(Self.countBytes + Self.wordBytes * self.count)...])
    var (next, held, gone): (UInt64, Int, Int) = (0, 0, 0)
    for index in 0..<self.count {
      let word = words.little(index * Self.wordBytes, UInt64.self)
      guard let told = Told(word: word), Self.pfn(word) >= next, Self.pfn(word) < EpochFormat.pfnLimit else {
        throw BundleFault("its list of pages makes no sense")
      }
      next = Self.pfn(word) + 1
      if told == .content { held += 1 }
      if told == .gone { gone += 1 }
    }
    guard content.count == held * EpochFormat.pageSize else { throw fault }
    self.gone = gone
  }

  static func word(_ pfn: UInt64, type: UInt8, _ told: Told) -> UInt64 {
    pfn | UInt64(told.rawValue) << 56 | UInt64(type) << 60
  }

  private static func pfn(_ word: UInt64) -> UInt64 { word & (1 << 56 - 1) }
  var first: UInt64 { Self.pfn(words.little(0, UInt64.self)) }
  var last: UInt64 { Self.pfn(words.little((count - 1) * Self.wordBytes, UInt64.self)) }

  /// Hands out every page; with its 4096 bytes where it has content.
  public func forEachPage(
    _ body: (_ pfn: UInt64, _ type: UInt8, _ told: Told, UnsafeRawBufferPointer?) throws -> Void
  ) rethrows {
    var offset = 0
    for index in 0..<count {
      let word = words.little(index * Self.wordBytes, UInt64.self)
      guard let told = Told(word: word) else { preconditionFailure("the words were checked") }
      var page: UnsafeRawBufferPointer?
      if told == .content {
        page = UnsafeRawBufferPointer(rebasing: content[offset..<(offset + EpochFormat.pageSize)])
        offset += EpochFormat.pageSize
      }
      try body(Self.pfn(word), UInt8(word >> 60), told, page)
    }
  }
}

extension BundlePages.Told {
  fileprivate init?(word: UInt64) { self.init(rawValue: UInt8(truncatingIfNeeded: word >> 56) & 0xf) }
}

/// Gathers pages until a chunk is full.
final class BundlePageList {
  private var words: [UInt64] = []
  private var held = 0
  private let buffer = UnsafeMutableRawBufferPointer.allocate(
    byteCount: contentStart + BundleFormat.pagesPerChunk * EpochFormat.pageSize, alignment: 4096)
  /// Count and words stand right before the first page, however many they are.
  private static let contentStart = BundlePages.countBytes + BundlePages.wordBytes * BundleFormat.pagesPerChunk

  deinit { buffer.deallocate() }

  var isFull: Bool { words.count == BundleFormat.pagesPerChunk }
  var isEmpty: Bool { words.isEmpty }

  /// - Parameter page: 4096 bytes; nil for a page that is gone.
  func add(_ pfn: UInt64, type: UInt8, _ page: UnsafeRawPointer?) {
    guard let page else { return words.append(BundlePages.word(pfn, type: 0, .gone)) }
    guard !Self.isZero(page) else { return words.append(BundlePages.word(pfn, type: type, .zero)) }
    let target = buffer.baseAddress.unsafelyUnwrapped + Self.contentStart + held * EpochFormat.pageSize
    target.copyMemory(from: page, byteCount: EpochFormat.pageSize)
    held += 1
    words.append(BundlePages.word(pfn, type: type, .content))
  }

  /// The content of a chunk, and its first pfn. The list is empty afterwards; the bytes stay until the next `add`.
  func take() -> (first: UInt64, bytes: UnsafeRawBufferPointer) {
    let start = Self.contentStart - BundlePages.countBytes - words.count * BundlePages.wordBytes
    let target = buffer.baseAddress.unsafelyUnwrapped + start
    target.setLittle(0, UInt64(words.count))
    for (index, word) in words.enumerated() {
      target.setLittle(BundlePages.countBytes + index * BundlePages.wordBytes, word)
    }
    let end = Self.contentStart + held * EpochFormat.pageSize
    let first = words[0] & (1 << 56 - 1)
    words.removeAll(keepingCapacity: true)
    held = 0
    return (first, UnsafeRawBufferPointer(rebasing: buffer[start..<end]))
  }

  private static func isZero(_ page: UnsafeRawPointer) -> Bool {
    // Equal to itself one byte on, and the first is zero: all are.
    page.load(as: UInt8.self) == 0 && memcmp(page, page + 1, EpochFormat.pageSize - 1) == 0
  }
}
