import Glibc

extension EpochReader {
  /// Hands out every page in pfn order, zero pages too, in batches of at most `pagesPerBatch` pages (a whole
  /// number of groups; at least 16). Stops at the first error, the body's own included.
  ///
  /// - Parameter threads: how many decompress side by side, 1...64.
  public func forEachBatch(
    pagesPerBatch: Int = 1024, threads: Int = 1, _ body: (PageBatch) throws -> Void
  ) throws {
    guard EpochFormat.framePages...1 << 20 ~= pagesPerBatch else {
      throw StoreError.invalid("a batch of \(pagesPerBatch) pages is not within 16...1048576")
    }
    posix_fadvise(file.descriptor, 0, 0, POSIX_FADV_SEQUENTIAL)
    let batch = BatchBuffer(reader: self, pages: pagesPerBatch, threads: max(1, min(threads, 64)))
    var start = 0
    while start < index.pageEntries {
      start = batch.plan(from: start)
      try batch.fill()
      if batch.count > 0 { try body(batch.pages) }
    }
  }
}

/// The buffers behind a `PageBatch`, used again for each.
private final class BatchBuffer {
  private(set) var count = 0

  private let reader: EpochReader
  private let unpackers: [FrameUnpacker]
  private let pfns: UnsafeMutableBufferPointer<UInt64>
  private let types: UnsafeMutableBufferPointer<UInt8>
  private let bytes: UnsafeMutableRawBufferPointer
  private let stored = UnsafeMutableRawBufferPointer.allocate(byteCount: 4 << 20, alignment: 4096)
  private var jobs: [Job] = []

  /// A frame and where its pages go: `wanted` is the mask of all pages of its group, `first` the place of the
  /// group's first page in the batch.
  private struct Job {
    let entry: PageEntry
    let wanted: UInt16
    let first: Int
  }

  init(reader: EpochReader, pages: Int, threads: Int) {
    self.reader = reader
    unpackers = (0..<threads).map { _ in FrameUnpacker(path: reader.path) }
    pfns = .allocate(capacity: pages)
    types = .allocate(capacity: pages)
    bytes = .allocate(byteCount: pages * EpochFormat.pageSize, alignment: 4096)
  }

  deinit {
    pfns.deallocate()
    types.deallocate()
    bytes.deallocate()
    stored.deallocate()
  }

  var pages: PageBatch {
    PageBatch(
      pfns: UnsafeBufferPointer(rebasing: pfns[..<count]), types: UnsafeBufferPointer(rebasing: types[..<count]),
      bytes: UnsafeRawBufferPointer(rebasing: bytes[..<(count * EpochFormat.pageSize)]))
  }

  /// Takes groups from entry `start` on until the batch is full: sets pfns, types and zero pages, and lists the
  /// frames to read. Returns the entry to go on with.
  func plan(from start: Int) -> Int {
    count = 0
    jobs.removeAll(keepingCapacity: true)
    var next = start
    while next < reader.index.pageEntries, count + EpochFormat.framePages <= pfns.count {
      let range = reader.index.group(from: next)
      let entries = range.map { reader.index[$0] }
      let wanted = entries.reduce(0) { $0 | $1.data | $1.zero }
      for entry in entries {
        if entry.data != 0 { jobs.append(Job(entry: entry, wanted: wanted, first: count)) }
        describe(entry, wanted)
      }
      count += wanted.nonzeroBitCount
      next = range.upperBound
    }
    jobs.sort { $0.entry.offset < $1.entry.offset }
    return next
  }

  private func describe(_ entry: PageEntry, _ wanted: UInt16) {
    var rest = entry.data | entry.zero
    while rest != 0 {
      let slot = rest.trailingZeroBitCount
      rest &= rest &- 1
      let place = count + FrameUnpacker.position(slot, wanted)
      pfns[place] = entry.group * UInt64(EpochFormat.framePages) + UInt64(slot)
      types[place] = UInt8(truncatingIfNeeded: entry.types >> UInt64(slot * 4)) & 0xf
      if entry.zero & (1 << UInt16(slot)) != 0 {
        memset(bytes.baseAddress.unsafelyUnwrapped + place * EpochFormat.pageSize, 0, EpochFormat.pageSize)
      }
    }
  }

  /// Reads and unpacks the frames of the plan. Frames that lie side by side are read in one go.
  func fill() throws(StoreError) {
    var start = 0
    while start < jobs.count {
      let offset = jobs[start].entry.offset
      var length = jobs[start].entry.frameBytes
      var end = start + 1
      while end < jobs.count, jobs[end].entry.offset == offset + length,
        length + jobs[end].entry.frameBytes <= UInt64(stored.count)
      {
        length += jobs[end].entry.frameBytes
        end += 1
      }
      let buffer = UnsafeMutableRawBufferPointer(rebasing: stored[..<Int(length)])
      try reader.file.read(buffer, at: offset)
      try unpack(start..<end, from: offset)
      start = end
    }
  }

  private func unpack(_ range: Range<Int>, from offset: UInt64) throws(StoreError) {
    let work = SharedWork(count: range.count, progress: nil)
    try work.run(threads: min(unpackers.count, range.count)) { thread throws(StoreError) in
      while let piece = work.next() {
        let job = jobs[range.lowerBound + piece]
        let frame = stored.baseAddress.unsafelyUnwrapped + Int(job.entry.offset - offset)
        let target = bytes.baseAddress.unsafelyUnwrapped + job.first * EpochFormat.pageSize
        try unpackers[thread].unpack(frame, job.entry, wanted: job.wanted, to: target)
      }
    }
  }
}
