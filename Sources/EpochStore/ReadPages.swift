import Glibc

extension EpochReader {
  /// Hands out every page in pfn order, zero pages too, in batches of at most `pagesPerBatch` pages (a whole
  /// number of groups; at least 16). Stops at the first error, the body's own included.
  ///
  /// - Parameter threads: how many read and decompress side by side, 1...64.
  public func forEachBatch(
    pagesPerBatch: Int = 1024, threads: Int = 1, _ body: (PageBatch) throws -> Void
  ) throws {
    guard EpochFormat.framePages...1 << 20 ~= pagesPerBatch else {
      throw StoreError.invalid("a batch of \(pagesPerBatch) pages is not within 16...1048576")
    }
    let threads = max(1, min(threads, 64))
    let window = FrameWindow(reader: self, threads: threads)
    let batch = BatchBuffer(reader: self, window: window, pages: pagesPerBatch, threads: threads)
    var start = 0
    while start < index.pageEntries {
      let end = try window.load(from: start)
      while start < end {
        start = batch.plan(from: start, to: end)
        try batch.fill()
        if batch.count > 0 { try body(batch.pages) }
      }
    }
  }
}

/// The stored frames of some groups that follow each other. An epoch's frames may be spread over hundreds of files;
/// those that a window of groups has in one file mostly lie near each other and are read in one go.
private final class FrameWindow {
  /// Enough bytes that each of 200 files is read in pieces worth a system call.
  private static let bytes: UInt64 = 8 << 20
  private static let entries = 1 << 16
  private static let runBytes: UInt64 = 1 << 20
  /// A group more than the window wants, and as much again for gaps that are read along.
  private static let bufferBytes = 2 * (Int(bytes) + EpochFormat.framePages * (EpochFormat.groupBytes + 64))

  private let reader: EpochReader
  private let threads: Int
  private let stored = UnsafeMutableRawBufferPointer.allocate(byteCount: bufferBytes, alignment: 4096)
  private var extents: [Extent] = []
  /// Where the frame of each entry of the window lies in `stored`.
  private var places: [Int] = []
  private var first = 0

  init(reader: EpochReader, threads: Int) {
    self.reader = reader
    self.threads = threads
  }

  deinit { stored.deallocate() }

  func frame(_ number: Int) -> UnsafeRawPointer {
    UnsafeRawPointer(stored.baseAddress.unsafelyUnwrapped) + places[number - first]
  }

  /// Reads the frames of whole groups from entry `start` on. Returns the entry to go on with.
  func load(from start: Int) throws(StoreError) -> Int {
    let end = collect(from: start)
    let runs = ReadRun.plan(&extents, limit: Self.runBytes)
    var place = 0
    var targets: [Int] = []
    for run in runs {
      targets.append(place)
      for extent in extents[run.extents] { places[extent.number - first] = place + Int(extent.offset - run.offset) }
      place += Int(run.length)
    }
    let work = SharedWork(count: runs.count, progress: nil)
    try work.run(threads: min(threads, runs.count)) { _ throws(StoreError) in
      while let number = work.next() {
        let run = runs[number]
        let target = stored[targets[number]..<(targets[number] + Int(run.length))]
        try reader.files.file(run.epoch).read(UnsafeMutableRawBufferPointer(rebasing: target), at: run.offset)
      }
    }
    return end
  }

  private func collect(from start: Int) -> Int {
    first = start
    extents.removeAll(keepingCapacity: true)
    var bytes: UInt64 = 0
    var next = start
    while next < reader.index.pageEntries, bytes < Self.bytes, next - start < Self.entries {
      let group = reader.index.group(from: next)
      for number in group {
        let entry = reader.index[number]
        guard entry.data != 0 else { continue }
        extents.append(
          Extent(epoch: entry.epoch, offset: entry.offset, length: entry.frameBytes, number: number))
        bytes += entry.frameBytes
      }
      next = group.upperBound
    }
    places = Array(repeating: 0, count: next - start)
    return next
  }
}

/// The buffers behind a `PageBatch`, used again for each.
private final class BatchBuffer {
  private(set) var count = 0

  private let reader: EpochReader
  private let window: FrameWindow
  private let unpackers: [FrameUnpacker]
  private let pfns: UnsafeMutableBufferPointer<UInt64>
  private let types: UnsafeMutableBufferPointer<UInt8>
  private let bytes: UnsafeMutableRawBufferPointer
  private var groups: [Group] = []
  /// Groups that a thread takes at a time.
  private static let pieceGroups = 4

  /// A group's entries, the mask of all its pages, and the place of its first page in the batch.
  private struct Group {
    let entries: Range<Int>
    let wanted: UInt16
    let first: Int
  }

  init(reader: EpochReader, window: FrameWindow, pages: Int, threads: Int) {
    self.reader = reader
    self.window = window
    unpackers = (0..<threads).map { _ in FrameUnpacker(files: reader.files) }
    pfns = .allocate(capacity: pages)
    types = .allocate(capacity: pages)
    bytes = .allocate(byteCount: pages * EpochFormat.pageSize, alignment: 4096)
  }

  deinit {
    pfns.deallocate()
    types.deallocate()
    bytes.deallocate()
  }

  var pages: PageBatch {
    PageBatch(
      pfns: UnsafeBufferPointer(rebasing: pfns[..<count]), types: UnsafeBufferPointer(rebasing: types[..<count]),
      bytes: UnsafeRawBufferPointer(rebasing: bytes[..<(count * EpochFormat.pageSize)]))
  }

  /// Takes groups from entry `start` on until the batch is full or `end` is reached, and sets pfns and types. Returns
  /// the entry to go on with.
  func plan(from start: Int, to end: Int) -> Int {
    count = 0
    groups.removeAll(keepingCapacity: true)
    var next = start
    while next < end, count + EpochFormat.framePages <= pfns.count {
      let range = reader.index.group(from: next)
      var wanted: UInt16 = 0
      var types: UInt64 = 0
      for number in range {
        let entry = reader.index[number]
        wanted |= entry.data | entry.zero
        types |= entry.types
      }
      groups.append(Group(entries: range, wanted: wanted, first: count))
      describe(reader.index[next].group, wanted, types)
      next = range.upperBound
    }
    return next
  }

  private func describe(_ group: UInt64, _ wanted: UInt16, _ groupTypes: UInt64) {
    var rest = wanted
    while rest != 0 {
      let slot = rest.trailingZeroBitCount
      rest &= rest &- 1
      pfns[count] = group * UInt64(EpochFormat.framePages) + UInt64(slot)
      types[count] = UInt8(truncatingIfNeeded: groupTypes >> UInt64(slot * 4)) & 0xf
      count += 1
    }
  }

  /// Unpacks the pages of the plan.
  func fill() throws(StoreError) {
    let pieces = (groups.count + Self.pieceGroups - 1) / Self.pieceGroups
    let work = SharedWork(count: pieces, progress: nil)
    try work.run(threads: min(unpackers.count, pieces)) { thread throws(StoreError) in
      while let piece = work.next() {
        let first = piece * Self.pieceGroups
        for group in groups[first..<min(first + Self.pieceGroups, groups.count)] { try fill(group, unpackers[thread]) }
      }
    }
  }

  private func fill(_ group: Group, _ unpacker: FrameUnpacker) throws(StoreError) {
    let target = bytes.baseAddress.unsafelyUnwrapped + group.first * EpochFormat.pageSize
    for number in group.entries {
      let entry = reader.index[number]
      if entry.data != 0 { try unpacker.unpack(window.frame(number), entry, wanted: group.wanted, to: target) }
      var zeros = entry.zero
      while zeros != 0 {
        let place = FrameUnpacker.position(zeros.trailingZeroBitCount, group.wanted)
        memset(target + place * EpochFormat.pageSize, 0, EpochFormat.pageSize)
        zeros &= zeros &- 1
      }
    }
  }
}
