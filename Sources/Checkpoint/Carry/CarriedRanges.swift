import DeviceMapper

/// The ranges of a disk that are to be carried, ascending, in bytes.
struct CarriedRanges: Equatable {
  struct Part: Equatable {
    var range: Range<UInt64>
    /// Its bytes come; else the range is empty now.
    var isMapped: Bool
  }

  private(set) var parts: [Part] = []

  /// - Parameters:
  ///   - output: of `thin_delta`, from the base's disk to this one; for a whole disk from itself to itself.
  ///   - size: of the disk; blocks may reach beyond.
  ///   - hasOrigin: what is not mapped reads as something else than zeros: it is an adopted disk.
  /// - Returns: nil for output that makes no sense.
  init?(thinDelta output: [UInt8], blockBytes: UInt64, size: UInt64, whole: Bool, hasOrigin: Bool = false) {
    var (isSound, reached) = (true, UInt64(0))
    let isComplete = ThinDelta.forEachRange(thinDelta: output) { kind, begin, length in
      let start = begin.multipliedReportingOverflow(by: blockBytes)
      let count = length.multipliedReportingOverflow(by: blockBytes)
      let end = start.partialValue.addingReportingOverflow(count.partialValue)
      guard !start.overflow, !count.overflow, !end.overflow, start.partialValue >= reached else {
        isSound = false
        return
      }
      reached = end.partialValue
      guard whole || kind != .same, start.partialValue < min(reached, size) else { return }
      add(Part(range: start.partialValue..<min(reached, size), isMapped: hasOrigin || kind != .removed))
    }
    guard isComplete, isSound else { return nil }
    if whole, hasOrigin { parts = size > 0 ? [Part(range: 0..<size, isMapped: true)] : [] }
  }

  /// Neighbours become one.
  private mutating func add(_ part: Part) {
    if let last = parts.last, last.isMapped == part.isMapped, last.range.upperBound == part.range.lowerBound {
      parts[parts.count - 1].range = last.range.lowerBound..<part.range.upperBound
    } else {
      parts.append(part)
    }
  }

  /// What is left of them from a place on.
  func from(_ offset: UInt64) -> [Part] {
    parts.compactMap { part in
      let start = max(part.range.lowerBound, offset)
      return start < part.range.upperBound ? Part(range: start..<part.range.upperBound, isMapped: part.isMapped) : nil
    }
  }
}
