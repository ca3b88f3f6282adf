import CXXHash

extension EpochReader {
  /// Proves everything that the epoch is made of: each frame matches its checksum and unpacks, in whichever file it
  /// stands, each record matches its checksum, and between header and index of the epoch's own file nothing stands that
  /// no checksum covers.
  ///
  /// - Parameters:
  ///   - threads: how many to work with, 1...64.
  ///   - progress: gets the bytes done, growing up to about the bytes of all frames and records.
  public func verify(threads: Int = 1, progress: ((Int) -> Void)? = nil) throws(StoreError) {
    var extents = extents()
    let runs = ReadRun.plan(&extents, limit: RunChecker.bufferBytes)
    try checkTiles(extents)
    let threads = max(1, min(threads, runs.count, 64))
    let checkers = (0..<threads).map { _ in RunChecker(reader: self) }
    let work = SharedWork(count: runs.count, progress: progress)
    try work.run(threads: threads) { thread throws(StoreError) in
      while let number = work.next() {
        let run = runs[number]
        try checkers[thread].check(run, extents[run.extents])
        work.finished(Int(run.length))
      }
    }
  }

  /// All frames and records. The extents' numbers count page entries, then records.
  private func extents() -> [Extent] {
    var extents: [Extent] = []
    extents.reserveCapacity(index.pageEntries + index.records.count)
    for number in 0..<index.pageEntries {
      let entry = index[number]
      guard entry.hasFrame else { continue }
      extents.append(
        Extent(epoch: entry.epoch, offset: entry.offset, length: entry.frameBytes, number: number))
    }
    for (number, entry) in index.records.enumerated() {
      extents.append(
        Extent(
          epoch: trailer.epoch, offset: entry.offset, length: entry.length, number: index.pageEntries + number))
    }
    return extents
  }

  /// Those of the epoch's own file must cover its data area exactly, without gap or overlap.
  private func checkTiles(_ sorted: [Extent]) throws(StoreError) {
    var next = UInt64(EpochFormat.headerBytes)
    for extent in sorted where extent.epoch == trailer.epoch {
      guard extent.offset == next else { throw .damaged(path: path, what: "no entry covers byte \(next) exactly") }
      next = extent.end
    }
    guard next == trailer.indexOffset else {
      throw .damaged(path: path, what: "no entry covers byte \(next) exactly")
    }
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
    unpacker = FrameUnpacker(files: reader.files)
  }

  deinit {
    buffer.deallocate()
    XXH3_freeState(hash)
  }

  func check(_ run: ReadRun, _ extents: ArraySlice<Extent>) throws(StoreError) {
    if run.length > Self.bufferBytes, let record = extents.first {
      try checkLongRecord(record)
      return
    }
    let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(run.length)])
    try reader.files.file(run.epoch).read(bytes, at: run.offset)
    for extent in extents {
      let start = buffer.baseAddress.unsafelyUnwrapped + Int(extent.offset - run.offset)
      if extent.number < reader.index.pageEntries {
        try unpacker.check(start, reader.index[extent.number])
      } else {
        try compare(XXH3_64bits(start, Int(extent.length)), extent)
      }
    }
  }

  private func checkLongRecord(_ extent: Extent) throws(StoreError) {
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

  private func compare(_ hash: UInt64, _ extent: Extent) throws(StoreError) {
    let number = extent.number - reader.index.pageEntries
    guard hash == reader.index.records[number].hash else {
      throw .damaged(path: reader.path, what: "record \(number) does not match its checksum")
    }
  }
}
