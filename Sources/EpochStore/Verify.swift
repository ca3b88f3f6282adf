import CXXHash

extension EpochReader {
  /// Reads every byte of the file and proves it: each frame matches its checksum and unpacks, each record
  /// matches its checksum, and between header and index nothing stands that no checksum covers.
  ///
  /// - Parameters:
  ///   - threads: how many to work with, 1...64.
  ///   - progress: gets the bytes done, growing up to about the size of the file.
  public func verify(threads: Int = 1, progress: ((Int) -> Void)? = nil) throws(StoreError) {
    let extents = try tiledExtents()
    let runs = Self.runs(of: extents)
    let threads = max(1, min(threads, runs.count, 64))
    let checkers = (0..<threads).map { _ in RunChecker(reader: self) }
    let work = SharedWork(count: runs.count, progress: progress)
    try work.run(threads: threads) { thread throws(StoreError) in
      while let run = work.next() {
        work.finished(try checkers[thread].check(extents[runs[run]]))
      }
    }
  }

  /// A stretch of the data area. `number` counts page entries, then records.
  fileprivate struct Extent {
    let offset: UInt64
    let length: UInt64
    let number: Int
  }

  /// All frames and records by place; they must cover the data area exactly, without gap or overlap.
  private func tiledExtents() throws(StoreError) -> [Extent] {
    var extents: [Extent] = []
    extents.reserveCapacity(index.pageEntries + index.records.count)
    for number in 0..<index.pageEntries {
      let entry = index[number]
      if entry.hasFrame { extents.append(Extent(offset: entry.offset, length: entry.frameBytes, number: number)) }
    }
    for (number, entry) in index.records.enumerated() {
      extents.append(Extent(offset: entry.offset, length: entry.length, number: index.pageEntries + number))
    }
    // An empty record lies at the start of whatever follows it.
    extents.sort { ($0.offset, $0.length) < ($1.offset, $1.length) }
    var next = UInt64(EpochFormat.headerBytes)
    for extent in extents {
      guard extent.offset == next else { throw .damaged(path: path, what: "no entry covers byte \(next) exactly") }
      next += extent.length
    }
    guard next == trailer.indexOffset else {
      throw .damaged(path: path, what: "no entry covers byte \(next) exactly")
    }
    return extents
  }

  /// Neighbours that are read in one go: up to 4 MiB, or one longer record.
  private static func runs(of extents: [Extent]) -> [Range<Int>] {
    var runs: [Range<Int>] = []
    var start = 0
    var length: UInt64 = 0
    for (number, extent) in extents.enumerated() {
      if number > start, length + extent.length > RunChecker.bufferBytes {
        runs.append(start..<number)
        (start, length) = (number, 0)
      }
      length += extent.length
    }
    if start < extents.count { runs.append(start..<extents.count) }
    return runs
  }
}

/// What one thread of `verify` owns.
private final class RunChecker {
  static let bufferBytes: UInt64 = 4 << 20

  private let reader: EpochReader
  private let unpacker: FrameUnpacker
  private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(bufferBytes), alignment: 4096)
  private let hash = XXH3_createState()

  init(reader: EpochReader) {
    self.reader = reader
    unpacker = FrameUnpacker(path: reader.path)
  }

  deinit {
    buffer.deallocate()
    XXH3_freeState(hash)
  }

  /// Returns the bytes checked.
  func check(_ run: ArraySlice<EpochReader.Extent>) throws(StoreError) -> Int {
    guard let first = run.first, let last = run.last else { return 0 }
    let length = last.offset + last.length - first.offset
    if length > Self.bufferBytes {
      try checkLongRecord(first)
      return Int(length)
    }
    let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(length)])
    try reader.file.read(bytes, at: first.offset)
    for extent in run {
      let start = buffer.baseAddress.unsafelyUnwrapped + Int(extent.offset - first.offset)
      if extent.number < reader.index.pageEntries {
        try unpacker.check(start, reader.index[extent.number])
      } else {
        try compare(XXH3_64bits(start, Int(extent.length)), extent)
      }
    }
    return Int(length)
  }

  private func checkLongRecord(_ extent: EpochReader.Extent) throws(StoreError) {
    XXH3_64bits_reset(hash)
    var done: UInt64 = 0
    while done < extent.length {
      let piece = Int(min(Self.bufferBytes, extent.length - done))
      let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer[..<piece])
      try reader.file.read(bytes, at: extent.offset + done)
      XXH3_64bits_update(hash, bytes.baseAddress, piece)
      done += UInt64(piece)
    }
    try compare(XXH3_64bits_digest(hash), extent)
  }

  private func compare(_ hash: UInt64, _ extent: EpochReader.Extent) throws(StoreError) {
    let number = extent.number - reader.index.pageEntries
    guard hash == reader.index.records[number].hash else {
      throw .damaged(path: reader.path, what: "record \(number) does not match its checksum")
    }
  }
}
