/// A set of guest frame numbers, one bit each.
public struct PageSet: Sendable, Equatable {
  private var words: [UInt64]

  /// - Parameter frames: frame numbers below this need no more room.
  public init(frames: Int = 0) { words = [UInt64](repeating: 0, count: (frames + 63) / 64) }

  public init(_ pfns: some Sequence<UInt64>) {
    words = []
    for pfn in pfns { insert(pfn) }
  }

  public var isEmpty: Bool { words.allSatisfy { $0 == 0 } }
  public var count: Int { words.reduce(0) { $0 &+ $1.nonzeroBitCount } }

  /// The lowest frame number.
  public var first: UInt64? {
    words.firstIndex { $0 != 0 }.map { UInt64($0 << 6 | words[$0].trailingZeroBitCount) }
  }

  public func contains(_ pfn: UInt64) -> Bool {
    let word = Int(truncatingIfNeeded: pfn >> 6)
    return word < words.count && words[word] & 1 << (pfn & 63) != 0
  }

  public mutating func insert(_ pfn: UInt64) {
    let word = Int(truncatingIfNeeded: pfn >> 6)
    grow(to: word + 1)
    words[word] |= 1 << (pfn & 63)
  }

  public mutating func remove(_ pfn: UInt64) {
    let word = Int(truncatingIfNeeded: pfn >> 6)
    if word < words.count { words[word] &= ~(1 << (pfn & 63)) }
  }

  public mutating func formUnion(_ other: PageSet) {
    grow(to: other.words.count)
    for index in other.words.indices { words[index] |= other.words[index] }
  }

  public mutating func subtract(_ other: PageSet) {
    for index in 0..<min(words.count, other.words.count) { words[index] &= ~other.words[index] }
  }

  public func subtracting(_ other: PageSet) -> PageSet {
    var result = self
    result.subtract(other)
    return result
  }

  /// Adds the frames of a bitmap as Xen gives it: little-endian, lowest frame in bit 0 of byte 0.
  ///
  /// - Returns: how many bits were set in it.
  @discardableResult
  mutating func formUnion(bitmap: UnsafeRawBufferPointer) -> Int {
    grow(to: bitmap.count / 8)
    var count = 0
    for index in 0..<bitmap.count / 8 {
      let word = bitmap.load(fromByteOffset: index &* 8, as: UInt64.self)
      words[index] |= word
      count &+= word.nonzeroBitCount
    }
    return count
  }

  /// The frames in ascending order.
  public func forEach(_ body: (UInt64) throws -> Void) rethrows {
    for (index, word) in words.enumerated() {
      var rest = word
      while rest != 0 {
        try body(UInt64(index << 6 | rest.trailingZeroBitCount))
        rest &= rest &- 1
      }
    }
  }

  private mutating func grow(to count: Int) {
    if words.count < count { words += [UInt64](repeating: 0, count: count - words.count) }
  }

  /// Hands out a set piece by piece; a copy of the set stays behind it.
  public struct Batches: Sendable {
    private let words: [UInt64]
    private var next = 0

    public init(_ set: PageSet) { words = set.words }

    /// The next frames in ascending order, from one stretch of ``GuestMemory/batchFrames`` frame numbers, at most
    /// `most` (a multiple of 64, or fewer than that come as well). Nil at the end.
    public mutating func take(most: Int = GuestMemory.batchFrames) -> [UInt64]? {
      while next < words.count, words[next] == 0 { next += 1 }
      guard next < words.count else { return nil }
      let stretch = GuestMemory.batchFrames / 64
      let end = min(words.count, (next / stretch + 1) * stretch)
      var pfns: [UInt64] = []
      repeat {
        var rest = words[next]
        while rest != 0 {
          pfns.append(UInt64(next << 6 | rest.trailingZeroBitCount))
          rest &= rest &- 1
        }
        next += 1
      } while next < end && pfns.count + 64 <= max(64, most)
      return pfns
    }
  }
}
