import Testing

@testable import EpochStore

/// Whatever happens to the bytes of an epoch, reading it fails; it never gives wrong pages and never crashes.
@Suite struct DamageTests {
  private let store: TemporaryStore
  private let epochPath: String
  private let manifestPath: String

  /// A frame stored raw, one packed, zero pages, two records and pages of an older epoch: every kind of byte that a
  /// file can have.
  init() throws {
    store = try TemporaryStore()
    var image = Image(pages: [5: Random(2).fixedPage(), 100: Random(4).fixedPage()])
    try store.publish(image, epoch: 1)
    image.pages[3] = Random(1).fixedPage()
    image.pages[4] = .init(type: 0, bytes: [UInt8](repeating: 0, count: 4096))
    for pfn in 32..<36 { image.pages[UInt64(pfn)] = .init(type: 2, bytes: [UInt8](repeating: UInt8(pfn), count: 4096)) }
    try store.publish(
      image, epoch: 2, records: [StoredRecord(type: 1, body: [1, 2, 3]), StoredRecord(type: 2, body: [9])],
      base: store.folder.base())
    epochPath = store.path("00000002.epoch")
    manifestPath = store.path("00000002.json")
  }

  private func readEverything() throws {
    let reader = try store.folder.open(epoch: 2)
    try reader.verify()
  }

  @Test func anyByteOfTheEpochFileFlipped() throws {
    try readEverything()
    let file = Tamper(path: epochPath)
    for (offset, byte) in try file.read().enumerated() {
      try file.write([byte ^ 1 << UInt8(offset % 8)], at: offset)
      #expect(throws: StoreError.self, "byte \(offset)") { try readEverything() }
      try file.write([byte], at: offset)
    }
    try readEverything()
  }

  @Test func anyBitOfTheManifestFlipped() throws {
    let file = Tamper(path: manifestPath)
    for (offset, byte) in try file.read().enumerated() {
      for bit in 0..<8 {
        try file.write([byte ^ 1 << UInt8(bit)], at: offset)
        #expect(throws: StoreError.self, "bit \(bit) of byte \(offset)") { try store.folder.manifest(2) }
      }
      try file.write([byte], at: offset)
    }
    try readEverything()
  }

  @Test func theEpochFileCutAtAnyLength() throws {
    let file = Tamper(path: epochPath)
    for size in (0..<(try file.read().count)).reversed() {
      file.cut(to: size)
      #expect(throws: StoreError.self, "\(size) bytes") { try readEverything() }
    }
  }

  @Test func theManifestCutAtAnyLength() throws {
    let file = Tamper(path: manifestPath)
    for size in (0..<(try file.read().count)).reversed() {
      file.cut(to: size)
      #expect(throws: StoreError.self, "\(size) bytes") { try store.folder.manifest(2) }
    }
  }

  @Test func bytesBehindTheTrailer() throws {
    let file = Tamper(path: epochPath)
    try file.write([0], at: try file.read().count)
    #expect(throws: StoreError.self) { try readEverything() }
  }

  @Test func theFileOfAnotherEpoch() throws {
    try store.publish(Image(pages: [3: Random(2).fixedPage()]), epoch: 3)
    try StoreName.rename(store.path("00000003.epoch"), to: epochPath)
    #expect(throws: StoreError.self) { try readEverything() }
    #expect(throws: StoreError.self) { try store.folder.open(epoch: 3) }
  }

  @Test func aDamagedManifestHidesNoOther() throws {
    try store.publish(Image(), epoch: 3)
    try Tamper(path: manifestPath).write([0], at: 10)
    let list = try store.folder.epochs()
    #expect(list.epochs.map(\.epoch) == [1, 3])
    #expect(list.damaged.map(\.epoch) == [2])
    #expect(try store.store.guests().first?.damaged == 1)
  }

  /// An index and trailer that lie with checksums that are right: only bounds protect the reader then.
  @Test(arguments: [11, 12, 13] as [UInt64])
  func forgedIndexesDoNotCrash(seed: UInt64) throws {
    var random = Random(seed)
    let file = Tamper(path: epochPath)
    let good = try file.read()
    let manifest = try store.folder.manifest(2)
    let reader = try store.folder.open(epoch: 2)
    let index = Int(reader.trailer.indexOffset)
    var refused = 0
    for _ in 0..<700 {
      var bytes = good
      for _ in 0..<Int.random(in: 1...3, using: &random) {
        // A field of the index, or of the trailer up to its two hashes.
        let offset = Int.random(in: index..<(bytes.count - 24), using: &random)
        bytes[offset] = random.interestingByte(bytes[offset])
      }
      try file.write(resealed(bytes, index: index))
      try publishManifest(of: bytes, from: manifest)
      do {
        let reader = try store.folder.open(epoch: 2)
        _ = try reader.records()
        try reader.forEachBatch(pagesPerBatch: 16) { _ in }
        try reader.verify()
      } catch is StoreError { refused += 1 }
      file.cut(to: good.count)
    }
    #expect(refused > 500)
  }

  @Test func bytesThatNoChecksumCoversAreFound() throws {
    let file = Tamper(path: epochPath)
    var bytes = try file.read()
    let index = Int(try indexOffset(bytes.count))
    bytes.insert(0x55, at: index)
    // The trailer's size of the file and place of the index, one further.
    let trailer = bytes.count - EpochFormat.trailerBytes
    for (field, value) in [(16, bytes.count), (24, index + 1)] {
      let little = withUnsafeBytes(of: UInt64(value).littleEndian) { Array($0) }
      bytes.replaceSubrange((trailer + field)..<(trailer + field + 8), with: little)
    }
    try file.write(resealed(bytes, index: index + 1))
    var manifest = try store.folder.manifest(2)
    manifest.bytes = UInt64(bytes.count)
    try publishManifest(of: bytes, from: manifest)
    let reader = try store.folder.open(epoch: 2)
    #expect(throws: StoreError.damaged(path: epochPath, what: "no entry covers byte \(index) exactly")) {
      try reader.verify()
    }
  }

  private func hash(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
    withUnsafeBytes(of: ManifestFile.hash(Array(bytes)).littleEndian) { Array($0) }
  }

  /// The same bytes with the checksums of index and trailer made right.
  private func resealed(_ bytes: [UInt8], index: Int) -> [UInt8] {
    var bytes = bytes
    let trailer = bytes.count - EpochFormat.trailerBytes
    bytes.replaceSubrange((trailer + 64)..<(trailer + 72), with: hash(bytes[index..<trailer]))
    bytes.replaceSubrange((trailer + 80)..., with: hash(bytes[trailer..<(trailer + 80)]))
    return bytes
  }

  private func publishManifest(of bytes: [UInt8], from manifest: EpochManifest) throws {
    var manifest = manifest
    let sealed = resealed(bytes, index: Int(try indexOffset(bytes.count)))
    let value = sealed.suffix(8).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    manifest.fileHash = ManifestFile.hexadecimal(value)
    try store.folder.publish(bytes: try ManifestFile.encode(manifest), as: manifestPath)
  }

  /// The original file's index offset, which the forger knows.
  private func indexOffset(_ size: Int) throws -> UInt64 {
    UInt64(size - EpochFormat.trailerBytes - 4 * EpochFormat.pageEntryBytes - 2 * EpochFormat.recordEntryBytes)
  }
}

extension Random {
  mutating func interestingByte(_ old: UInt8) -> UInt8 {
    switch Int.random(in: 0..<4, using: &self) {
    case 0: 0xff
    case 1: 0
    case 2: old ^ 1 << UInt8.random(in: 0..<8, using: &self)
    default: UInt8.random(in: 0...255, using: &self)
    }
  }
}
