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
  public var count: Int {
    words.withUnsafeBufferPointer { words in
      var count = 0
      for word in words where word != 0 { count &+= word.nonzeroBitCount }
      return count
    }
  }

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
    if words.isEmpty {
      words = other.words
      return
    }
    grow(to: other.words.count)
    words.withUnsafeMutableBufferPointer { own in
      other.words.withUnsafeBufferPointer { for index in $0.indices where $0[index] != 0 { own[index] |= $0[index] } }
    }
  }

  public mutating func subtract(_ other: PageSet) {
    let count = min(words.count, other.words.count)
    words.withUnsafeMutableBufferPointer { own in
      other.words.withUnsafeBufferPointer { for index in 0..<count where own[index] != 0 { own[index] &= ~$0[index] } }
    }
  }

  public func subtracting(_ other: PageSet) -> PageSet {
    var result = self
    result.subtract(other)
    return result
  }

  public func intersection(_ other: PageSet) -> PageSet {
    var result = self
    for index in words.indices { result.words[index] &= index < other.words.count ? other.words[index] : 0 }
    return result
  }

  /// All of them, ascending.
  public var pfns: [UInt64] {
    var pfns: [UInt64] = []
    var batches = Batches(self)
    while let batch = batches.take() { pfns += batch }
    return pfns
  }

  /// Stretches of frame numbers that follow each other, ascending.
  public var runs: [Range<UInt64>] {
    var runs: [Range<UInt64>] = []
    for pfn in pfns {
      if let last = runs.last, last.upperBound == pfn {
        runs[runs.count - 1] = last.lowerBound..<(pfn + 1)
      } else {
        runs.append(pfn..<(pfn + 1))
      }
    }
    return runs
  }

  /// Adds the frames of a bitmap as Xen gives it: little-endian, lowest frame in bit 0 of byte 0.
  ///
  /// - Returns: how many bits were set in it.
  @discardableResult
  mutating func formUnion(bitmap: UnsafeRawBufferPointer) -> Int {
    grow(to: bitmap.count / 8)
    return words.withUnsafeMutableBufferPointer { own in
      var count = 0
      for (index, word) in bitmap.bindMemory(to: UInt64.self).enumerated() where word != 0 {
        own[index] |= word
        count &+= word.nonzeroBitCount
      }
      return count
    }
  }

  private mutating func grow(to count: Int) {
    if words.count < count { words += [UInt64](repeating: 0, count: count - words.count) }
  }

  /// Hands out a set piece by piece; a copy of the set stays behind it.
  public struct Batches: Sendable {
    private let words: [UInt64]
    private let most: Int
    private let stretch: Int?
    private var next = 0

    /// - Parameters:
    ///   - most: pages of a piece; a multiple of 64 is used in full.
    ///   - byStretch: no piece crosses a multiple of ``GuestMemory/batchFrames`` frame numbers, so that the pieces of the
    ///     same set are always the same ones.
    public init(_ set: PageSet, most: Int = GuestMemory.batchFrames, byStretch: Bool = false) {
      words = set.words
      self.most = max(64, most)
      stretch = byStretch ? GuestMemory.batchFrames / 64 : nil
    }

    /// The next frames in ascending order. Nil at the end.
    public mutating func take() -> [UInt64]? {
      while next < words.count, words[next] == 0 { next += 1 }
      guard next < words.count else { return nil }
      let end = stretch.map { min(words.count, (next / $0 + 1) * $0) } ?? words.count
      var pfns: [UInt64] = []
      pfns.reserveCapacity(most)
      while next < end, pfns.count + words[next].nonzeroBitCount <= most {
        var rest = words[next]
        while rest != 0 {
          pfns.append(UInt64(next << 6 | rest.trailingZeroBitCount))
          rest &= rest &- 1
        }
        next += 1
      }
      return pfns
    }

    /// The frames that were not handed out.
    public var rest: PageSet {
      var rest = PageSet()
      if next < words.count { rest.words = [UInt64](repeating: 0, count: next) + words[next...] }
      return rest
    }
  }
}
