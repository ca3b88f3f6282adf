import CXXHash
import Glibc
import Synchronization

extension EpochReader {
  /// Proves everything that the epoch is made of: each frame of its own file matches its checksums and unpacks, and so
  /// does each block that it needs of another file; each record matches its checksum, and between header and index of the
  /// epoch's own file nothing stands that no checksum covers. Stops at the first damage and throws it.
  ///
  /// - Parameters:
  ///   - threads: how many to work with, 1...64.
  ///   - progress: gets the bytes done, growing up to about the bytes of all frames and records.
  ///   - shouldStop: asked before each piece of some MiB, by any thread; `stopped` is thrown then.
  public func verify(
    threads: Int = 1, progress: ((Int) -> Void)? = nil, shouldStop: @Sendable () -> Bool = { false }
  ) throws(StoreError) {
    var extents = extents()
    Extent.sort(&extents)
    try checkTiles(extents)
    try check(extents, threads: threads, progress: progress, shouldStop: shouldStop) {
      _, error, _ throws(StoreError) in throw error
    }
  }

  /// Looks at the epoch as thoroughly as `method` says and collects what is damaged, instead of stopping at the first.
  ///
  /// - Parameters:
  ///   - known: frames that need no look: proven, or known to be damaged. Learns from this one.
  ///   - progress: gets the bytes read so far and those to read in all.
  ///   - shouldStop: asked before each piece of some MiB, by any thread.
  /// - Throws: what is no damage of the epoch, such as a file that may not be opened; damage of the whole epoch; `stopped`.
  func examine(
    _ method: VerifyMethod, threads: Int, known: inout KnownFrames, random: inout any RandomNumberGenerator,
    progress: ((_ done: Int, _ total: Int) -> Void)?, shouldStop: @Sendable () -> Bool
  ) throws(StoreError) -> Findings {
    var extents = extents()
    Extent.sort(&extents)
    try checkTiles(extents)
    let findings = Mutex(try dropUnreadable(&extents, known))
    switch method {
    case .quick: extents = []
    case .subset(let share): draw(share, from: &extents, &random)
    case .full: extents.removeAll { isFrame($0) && known.isProven(index[$0.number], whole: isOwn($0)) }
    }
    let total = extents.reduce(0) { $0 + Int($1.length) }
    try check(
      extents, threads: threads, progress: progress.map { progress in { progress(min($0, total), total) } },
      shouldStop: shouldStop
    ) { extent, error, pages throws(StoreError) in
      guard error.isDamage else { throw error }
      findings.withLock {
        $0.add(error, frame: isFrame(extent) ? Findings.Frame(entry: index[extent.number], pages: pages) : nil)
      }
    }
    let found = findings.withLock { $0 }
    if method == .full {
      known.add(proven: extents.filter(isFrame).map { index[$0.number] }, of: trailer.epoch, but: found)
    }
    return found
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

  private func isFrame(_ extent: Extent) -> Bool { extent.number < index.pageEntries }
  /// All of the epoch's own file is looked at, and of others what it needs.
  private func isOwn(_ extent: Extent) -> Bool { extent.epoch == trailer.epoch }

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

  /// Takes out the frames of older files that need no reading to be damaged: known ones, and those behind the file's end.
  private func dropUnreadable(_ extents: inout [Extent], _ known: KnownFrames) throws(StoreError) -> Findings {
    var findings = Findings()
    var sizes: [UInt32: UInt64] = [:]
    for epoch in index.needs { sizes[epoch] = try files.file(epoch).regularSize() }
    extents.removeAll { extent in
      guard isFrame(extent) else { return false }
      let entry = index[extent.number]
      if let size = sizes[extent.epoch], extent.end > size {
        let error = files.damaged(entry, "lies behind the end of the file at byte \(size)")
        findings.add(error, frame: .init(entry: entry, pages: .max))
        return true
      }
      let pages = known.damage(entry, whole: isOwn(extent))
      guard pages != 0 else { return false }
      findings.add(
        files.damaged(entry, "is damaged, as another epoch showed"), frame: .init(entry: entry, pages: pages))
      return true
    }
    return findings
  }

  /// Keeps all records, and as many frames as the share says, each as likely as any other.
  private func draw(_ share: Double, from extents: inout [Extent], _ random: inout any RandomNumberGenerator) {
    var left = extents.count(where: isFrame)
    var wanted = Int((Double(left) * share).rounded(.up))
    extents.removeAll { extent in
      guard isFrame(extent) else { return false }
      let isDrawn = Int.random(in: 0..<left, using: &random) < wanted
      left -= 1
      if isDrawn { wanted -= 1 }
      return !isDrawn
    }
  }

  /// Told what is wrong with a frame or record, and with which pages of the frame, from any thread; throws to stop.
  fileprivate typealias Found = (Extent, StoreError, UInt16) throws(StoreError) -> Void

  /// Reads and checks some frames and records.
  private func check(
    _ extents: [Extent], threads: Int, progress: ((Int) -> Void)?, shouldStop: @Sendable () -> Bool = { false },
    _ found: Found
  ) throws(StoreError) {
    var extents = extents
    let runs = ReadRun.plan(&extents, limit: RunChecker.bufferBytes)
    let threads = max(1, min(threads, runs.count, 64))
    let checkers = (0..<threads).map { _ in RunChecker(reader: self) }
    let work = SharedWork(count: runs.count, progress: progress)
    try work.run(threads: threads) { thread throws(StoreError) in
      while let number = work.next() {
        guard !shouldStop() else { throw .stopped }
        let run = runs[number]
        try checkers[thread].check(run, extents[run.extents], found)
        work.finished(Int(run.length))
      }
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

  func check(
    _ run: ReadRun, _ extents: ArraySlice<Extent>, _ found: EpochReader.Found
  ) throws(StoreError) {
    do {
      if run.length > Self.bufferBytes, let record = extents.first { return try checkLongRecord(record) }
      let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(run.length)])
      try reader.files.file(run.epoch).read(bytes, at: run.offset)
    } catch {
      if extents.count == 1, let extent = extents.first { return try found(extent, error, .max) }
      // One bad sector says nothing about the frames around it.
      for index in extents.indices {
        let extent = extents[index]
        try check(ReadRun(extent, index), extents[index...index], found)
      }
      return
    }
    for extent in extents {
      let start = buffer.baseAddress.unsafelyUnwrapped + Int(extent.offset - run.offset)
      if extent.number < reader.index.pageEntries {
        let isOwn = extent.epoch == reader.trailer.epoch
        let entry = reader.index[extent.number]
        let damage = unpacker.damage(start + Int(entry.lower), entry, whole: isOwn)
        if let damage { try found(extent, damage.error, damage.pages) }
      } else {
        do { try compare(XXH3_64bits(start, Int(extent.length)), extent) } catch { try found(extent, error, .max) }
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
