import Dispatch
import Glibc

extension EpochReader {
  /// Hands out every page in pfn order, zero pages too, in batches of at most `pagesPerBatch` pages (a whole
  /// number of groups; at least 16). Stops at the first error, the body's own included.
  ///
  /// - Parameters:
  ///   - first: begins with the group that has this pfn, or the next.
  ///   - threads: how many read and decompress side by side, 1...64. With more than one they also read ahead: the next
  ///     8 MiB are made ready while `body` has the last.
  public func forEachBatch(
    startingAt first: UInt64 = 0, pagesPerBatch: Int = 1024, threads: Int = 1, _ body: (PageBatch) throws -> Void
  ) throws {
    guard EpochFormat.framePages...1 << 20 ~= pagesPerBatch else {
      throw StoreError.invalid("a batch of \(pagesPerBatch) pages is not within 16...1048576")
    }
    let threads = max(1, min(threads, 64))
    var next = index.firstEntry(from: first / UInt64(EpochFormat.framePages))
    guard next < index.pageEntries else { return }
    var window = PageWindow(reader: self, threads: threads)
    next = try window.read(from: next)
    var other = threads > 1 && next < index.pageEntries ? PageWindow(reader: self, threads: threads) : window
    while next < index.pageEntries {
      let ahead = threads > 1 ? ReadAhead(other, from: next) : nil
      defer { ahead?.end() }
      try window.forEachBatch(pagesPerBatch, body)
      next = try ahead?.result() ?? other.read(from: next)
      swap(&window, &other)
    }
    try window.forEachBatch(pagesPerBatch, body)
  }
}

/// A window that is read on another thread. Its owner leaves it alone until the end.
private final class ReadAhead {
  private let group = DispatchGroup()
  /// Written before the group is left, read after it was waited for.
  private nonisolated(unsafe) var read: Result<Int, StoreError>?

  init(_ window: PageWindow, from start: Int) {
    nonisolated(unsafe) let (window, this) = (window, self)
    DispatchQueue.global(qos: .userInitiated).async(group: group) {
      this.read = Result { () throws(StoreError) in try window.read(from: start) }
    }
  }

  func end() { group.wait() }

  /// The entry to go on with.
  func result() throws(StoreError) -> Int {
    end()
    return try read.unsafelyUnwrapped.get()
  }
}

/// The pages of some groups that follow each other. An epoch's frames may be spread over hundreds of files; those that
/// a window has in one file mostly lie near each other and are read in one go.
private final class PageWindow {
  /// 8 MiB: enough that each of 200 files is read in pieces worth a system call, few enough to stay in the processor's
  /// cache until they are handed out.
  private static let pageLimit = 2048
  /// An index may have any number of entries without a page.
  private static let entryLimit = 1 << 16
  /// What a thread reads and unpacks at a time: small enough to stay in its core's cache.
  private static let runBytes: UInt64 = 128 << 10

  private let reader: EpochReader
  private let workers: [Worker]
  private let pfns = UnsafeMutableBufferPointer<UInt64>.allocate(capacity: pageLimit)
  private let types = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: pageLimit)
  private let bytes = UnsafeMutableRawBufferPointer.allocate(
    byteCount: pageLimit * EpochFormat.pageSize, alignment: 4096)
  private var count = 0
  private var groups: [Group] = []
  private var extents: [Extent] = []
  /// The group of each of the window's entries, which begin with entry `first`.
  private var groupOfEntry: [Int] = []
  private var first = 0

  /// The mask of all pages of a group, and the place of the first one in the window.
  private struct Group {
    let wanted: UInt16
    let first: Int
  }

  /// What one thread owns.
  private struct Worker {
    let unpacker: FrameUnpacker
    let buffer: UnsafeMutableRawBufferPointer
  }

  init(reader: EpochReader, threads: Int) {
    self.reader = reader
    workers = (0..<threads).map { _ in
      Worker(
        unpacker: FrameUnpacker(files: reader.files),
        buffer: .allocate(byteCount: Int(Self.runBytes), alignment: 4096))
    }
    // One call instead of a fault for each page, which costs a PV dom0 more than to unpack the page. Before Linux 5.14 it is
    // refused, and the pages come by faults.
    let expected = min(Self.pageLimit, reader.pageCount) * EpochFormat.pageSize
    _ = madvise(bytes.baseAddress, expected, MADV_POPULATE_WRITE)
  }

  deinit {
    pfns.deallocate()
    types.deallocate()
    bytes.deallocate()
    for worker in workers { worker.buffer.deallocate() }
  }

  /// Takes whole groups from entry `start` on until the window is full, and their pages. Returns the entry to go on with.
  func read(from start: Int) throws(StoreError) -> Int {
    let next = plan(from: start)
    try fill()
    return next
  }

  /// Chooses the groups, and sets pfns and types.
  private func plan(from start: Int) -> Int {
    (first, count) = (start, 0)
    groups.removeAll(keepingCapacity: true)
    extents.removeAll(keepingCapacity: true)
    groupOfEntry.removeAll(keepingCapacity: true)
    var next = start
    while next < reader.index.pageEntries, next - start < Self.entryLimit,
      count + EpochFormat.framePages <= Self.pageLimit
    {
      let range = reader.index.group(from: next)
      var wanted: UInt16 = 0
      var types: UInt64 = 0
      for number in range {
        let entry = reader.index[number]
        wanted |= entry.data | entry.zero
        types |= entry.types
        groupOfEntry.append(groups.count)
        // A frame without a page of the epoch is not read; its group may have zero pages.
        let needed = entry.data == 0 ? 0..<0 : entry.needed
        extents.append(
          Extent(
            epoch: entry.data == 0 ? 0 : entry.epoch, offset: needed.lowerBound, length: UInt64(needed.count),
            number: number))
      }
      groups.append(Group(wanted: wanted, first: count))
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

  /// Reads, checks and unpacks the pages of the plan, file by file.
  private func fill() throws(StoreError) {
    let runs = ReadRun.plan(&extents, limit: Self.runBytes)
    let work = SharedWork(count: runs.count, progress: nil)
    try work.run(threads: min(workers.count, runs.count)) { thread throws(StoreError) in
      while let number = work.next() { try fill(runs[number], workers[thread]) }
    }
  }

  private func fill(_ run: ReadRun, _ worker: Worker) throws(StoreError) {
    let stored = UnsafeMutableRawBufferPointer(rebasing: worker.buffer[..<Int(run.length)])
    if run.length > 0 { try reader.files.file(run.epoch).read(stored, at: run.offset) }
    for extent in extents[run.extents] {
      let entry = reader.index[extent.number]
      let group = groups[groupOfEntry[extent.number - first]]
      let target = bytes.baseAddress.unsafelyUnwrapped + group.first * EpochFormat.pageSize
      if entry.data != 0 {
        let head = UnsafeRawPointer(stored.baseAddress.unsafelyUnwrapped) + Int(entry.head - run.offset)
        try worker.unpacker.unpack(head, entry, wanted: group.wanted, to: target)
      }
      var zeros = entry.zero
      while zeros != 0 {
        let place = FrameUnpacker.position(zeros.trailingZeroBitCount, group.wanted)
        memset(target + place * EpochFormat.pageSize, 0, EpochFormat.pageSize)
        zeros &= zeros &- 1
      }
    }
  }

  /// Hands the pages out, as many whole groups at a time as `limit` pages have room for.
  func forEachBatch(_ limit: Int, _ body: (PageBatch) throws -> Void) throws {
    var group = 0
    while group < groups.count {
      let start = groups[group].first
      var end = start
      while group < groups.count {
        let next = groups[group].first + groups[group].wanted.nonzeroBitCount
        if next - start > limit { break }
        (group, end) = (group + 1, next)
      }
      if end > start { try body(batch(start..<end)) }
    }
  }

  private func batch(_ range: Range<Int>) -> PageBatch {
    PageBatch(
      pfns: UnsafeBufferPointer(rebasing: pfns[range]), types: UnsafeBufferPointer(rebasing: types[range]),
      bytes: UnsafeRawBufferPointer(
        rebasing: bytes[(range.lowerBound * EpochFormat.pageSize)..<(range.upperBound * EpochFormat.pageSize)]))
  }
}
