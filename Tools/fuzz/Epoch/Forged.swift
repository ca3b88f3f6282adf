import Support

@testable import EpochStore

/// Any bytes, made into an epoch file as far as counts and checksums go, with the manifest that belongs to it.
struct Forged {
  private(set) var bytes: [UInt8]
  private(set) var manifest = FuzzStore.manifest(2)
  private var index = 0
  private var pageEntries = 0
  private var recordEntries = 0

  /// - Parameters:
  ///   - repairs: bits: 1 the header; 2 magic, version, epoch and place in the trailer; 4 counts of pages; 8 checksums of frames and blocks;
  ///     16 records' checksums; 32 the index's and the trailer's; 64 the manifest.
  ///   - older: the file of epoch 1.
  init(_ given: [UInt8], repairs: UInt8, older: [UInt8]) {
    bytes = given
    guard bytes.count >= EpochFormat.headerBytes + EpochFormat.trailerBytes else { return }
    if repairs & 1 != 0 {
      bytes.replaceSubrange(0..<EpochFormat.headerBytes, with: EpochHeader(uuid: FuzzStore.uuid, epoch: 2).encoded)
    }
    let trailer = bytes.count - EpochFormat.trailerBytes
    findIndex(trailer, isRight: repairs & 2 != 0)
    if repairs & 4 != 0 { count(trailer) }
    if repairs & 8 != 0 { sealFrames(older) }
    if repairs & 16 != 0 { sealRecords() }
    if repairs & 32 != 0 {
      bytes.setLittle(trailer + 64, hash(index..<trailer))
      bytes.setLittle(trailer + 72, hash(0..<EpochFormat.headerBytes))
      bytes.setLittle(trailer + 80, hash(trailer..<(trailer + 80)))
    }
    if repairs & 64 != 0 { describe(trailer) }
  }

  /// Where the index is and how many entries it has; with `isRight`, as many as there is room for.
  private mutating func findIndex(_ trailer: Int, isRight: Bool) {
    let room = UInt64(trailer - EpochFormat.headerBytes)
    let records = min(bytes.little(trailer + 40, UInt64.self), room / 32)
    let pages = min(bytes.little(trailer + 32, UInt64.self), (room - records * 32) / 40)
    (pageEntries, recordEntries) = (Int(pages), Int(records))
    index = trailer - pageEntries * EpochFormat.pageEntryBytes - recordEntries * EpochFormat.recordEntryBytes
    guard isRight else { return }
    bytes.replaceSubrange(trailer..<(trailer + 8), with: EpochFormat.trailerMagic)
    bytes.setLittle(trailer + 8, UInt32(EpochFormat.version))
    bytes.setLittle(trailer + 12, UInt32(2))
    for (field, value) in [(16, bytes.count), (24, index), (32, pageEntries), (40, recordEntries)] {
      bytes.setLittle(trailer + field, UInt64(value))
    }
  }

  private func entry(_ number: Int) -> PageEntry {
    bytes.withUnsafeBytes {
      PageEntry(decoding: $0.baseAddress! + index + number * EpochFormat.pageEntryBytes)
    }
  }

  private mutating func count(_ trailer: Int) {
    let entries = (0..<pageEntries).map(entry)
    bytes.setLittle(trailer + 48, UInt64(entries.reduce(0) { $0 + $1.data.nonzeroBitCount }))
    bytes.setLittle(trailer + 56, UInt64(entries.reduce(0) { $0 + $1.zero.nonzeroBitCount }))
  }

  private mutating func sealFrames(_ older: [UInt8]) {
    for number in 0..<pageEntries {
      let entry = entry(number)
      if entry.epoch == 2 { sealBlocks(entry) }
      let file = entry.epoch == 2 ? bytes : older
      guard let head = head(entry, in: file) else { continue }
      bytes.setLittle(index + number * EpochFormat.pageEntryBytes + 16, ManifestFile.hash(Array(file[head])))
    }
  }

  /// Where the head of a frame is that lies within the file.
  private func head(_ entry: PageEntry, in file: [UInt8]) -> Range<Int>? {
    guard entry.hasFrame, entry.offset < UInt64(file.count), entry.frameBytes <= UInt64(file.count) - entry.offset
    else { return nil }
    return Int(entry.head)..<Int(entry.head + entry.headBytes)
  }

  private mutating func sealBlocks(_ entry: PageEntry) {
    guard let head = head(entry, in: bytes) else { return }
    var next = Int(entry.offset)
    for place in stride(
      from: head.lowerBound + EpochFormat.frameHeaderBytes, to: head.upperBound, by: EpochFormat.blockEntryBytes)
    {
      if next == head.lowerBound { next = head.upperBound }
      let end = next + Int(bytes.little(place, UInt16.self))
      guard end <= bytes.count else { return }
      bytes.setLittle(place + 2, hash(next..<end))
      next = end
    }
  }

  private mutating func sealRecords() {
    let records = index + pageEntries * EpochFormat.pageEntryBytes
    for place in stride(from: records, to: records + recordEntries * EpochFormat.recordEntryBytes, by: 32) {
      let (offset, length) = (bytes.little(place + 8, UInt64.self), bytes.little(place + 16, UInt64.self))
      guard offset < UInt64(bytes.count), length <= UInt64(bytes.count) - offset else { continue }
      bytes.setLittle(place + 24, hash(Int(offset)..<Int(offset + length)))
    }
  }

  private mutating func describe(_ trailer: Int) {
    let entries = (0..<pageEntries).map(entry)
    manifest.file = EpochName.file(2)
    manifest.bytes = UInt64(bytes.count)
    manifest.pages = Int(truncatingIfNeeded: bytes.little(trailer + 48, UInt64.self))
    manifest.zeroPages = Int(truncatingIfNeeded: bytes.little(trailer + 56, UInt64.self))
    manifest.needs = Set(entries.filter { $0.hasFrame && $0.epoch != 2 }.map { Int($0.epoch) }).sorted()
    manifest.fileHash = ManifestFile.hexadecimal(bytes.little(trailer + 80, UInt64.self))
  }

  private func hash(_ range: Range<Int>) -> UInt64 { ManifestFile.hash(Array(bytes[range])) }
}
