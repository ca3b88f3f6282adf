/// A stretch of an epoch's file that is to be read. `number` is the caller's.
struct Extent {
  let epoch: UInt32
  let offset: UInt64
  let length: UInt64
  let number: Int

  var end: UInt64 { offset + length }

  /// By file and place. Without a length an extent lies at the start of whatever follows it.
  static func sort(_ extents: inout [Extent]) {
    extents.sort { ($0.epoch, $0.offset, $0.length) < ($1.epoch, $1.offset, $1.length) }
  }
}

/// Neighbours in one file that are read in one go.
struct ReadRun {
  /// Which of the sorted extents.
  private(set) var extents: Range<Int>
  let epoch: UInt32
  let offset: UInt64
  private(set) var length: UInt64

  /// One extent alone, the one at `index`.
  init(_ extent: Extent, _ index: Int) {
    extents = index..<(index + 1)
    epoch = extent.epoch
    offset = extent.offset
    length = extent.length
  }

  /// Sorts extents by file and place and joins neighbours to runs of at most `limit` bytes (or one longer extent).
  /// A gap is read too when it is not longer than what follows it: that costs less than another call, and the
  /// runs together have at most twice the bytes of the extents.
  static func plan(_ extents: inout [Extent], limit: UInt64) -> [ReadRun] {
    Extent.sort(&extents)
    var runs: [ReadRun] = []
    for (index, extent) in extents.enumerated() {
      if runs.last?.joins(extent, limit: limit) == true {
        runs[runs.count - 1].extents = runs[runs.count - 1].extents.lowerBound..<(index + 1)
        runs[runs.count - 1].length = extent.end - runs[runs.count - 1].offset
      } else {
        runs.append(ReadRun(extent, index))
      }
    }
    return runs
  }

  private func joins(_ extent: Extent, limit: UInt64) -> Bool {
    let end = offset + length
    return epoch == extent.epoch && extent.offset >= end && extent.offset - end <= extent.length
      && extent.end - offset <= limit
  }
}
