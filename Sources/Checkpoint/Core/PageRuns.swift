import EpochStore

/// Where a guest has memory: ranges of pfns, ascending. No more than ``most``: a debugger goes through all of them for each read, and the
/// guest decides how ragged its memory is. Where there would be more, small gaps count as memory, and read as zeros.
struct PageRuns: Equatable {
  static let most = 1024

  private(set) var runs: [Range<UInt64>] = []
  /// Gaps of so many pages are filled.
  private var gap: UInt64 = 0

  init() {}

  init(_ reader: EpochReader) {
    reader.forEachGroup { first, mask in
      var rest = mask
      while rest != 0 {
        let start = rest.trailingZeroBitCount
        let length = (~(rest >> UInt16(start))).trailingZeroBitCount
        append(first + UInt64(start)..<first + UInt64(start + length))
        // A shift by 16 gives 0.
        rest &= ~UInt16(0) << UInt16(start + length)
      }
    }
  }

  /// - Parameter run: behind all others.
  mutating func append(_ run: Range<UInt64>) {
    if let last = runs.last, run.lowerBound - last.upperBound <= gap {
      runs[runs.count - 1] = last.lowerBound..<run.upperBound
      return
    }
    runs.append(run)
    while runs.count > Self.most {
      gap = max(1, gap * 2)
      let all = runs
      runs = []
      for run in all { append(run) }
    }
  }
}
