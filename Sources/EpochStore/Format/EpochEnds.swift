import CXXHash

/// The first 40 bytes of an epoch file.
struct EpochHeader {
  static let epochOffset = 20
  let encoded: [UInt8]

  init(uuid: String, epoch: Int) {
    var bytes = [UInt8](repeating: 0, count: EpochFormat.headerBytes)
    bytes.withUnsafeMutableBytes { buffer in
      let start = buffer.baseAddress.unsafelyUnwrapped
      buffer.copyBytes(from: EpochFormat.headerMagic)
      start.setLittle(8, UInt32(EpochFormat.version))
      start.setLittle(12, UInt32(EpochFormat.pageSize))
      start.setLittle(16, UInt32(EpochFormat.framePages))
      start.setLittle(Self.epochOffset, UInt32(epoch))
      UnsafeMutableRawBufferPointer(rebasing: buffer[24...]).copyBytes(from: EpochStore.bytes(ofUUID: uuid))
    }
    encoded = bytes
  }

  var hash: UInt64 { encoded.withUnsafeBytes { XXH3_64bits($0.baseAddress, $0.count) } }
}

/// The last 88 bytes of an epoch file.
struct EpochTrailer {
  var epoch: UInt32
  var indexOffset: UInt64
  var pageEntries: UInt64 = 0
  var recordEntries: UInt64 = 0
  var dataPages: UInt64 = 0
  var zeroPages: UInt64 = 0
  var indexHash: UInt64 = 0
  var headerHash: UInt64 = 0
  /// XXH3-64 of the trailer's other bytes. Set by `encode` and by decoding.
  private(set) var hash: UInt64 = 0

  init(epoch: UInt32, indexOffset: UInt64) {
    self.epoch = epoch
    self.indexOffset = indexOffset
  }

  /// Counts are bounded where they come from: the writer's memory, or `init(decoding:)`.
  var indexBytes: UInt64 {
    pageEntries * UInt64(EpochFormat.pageEntryBytes) + recordEntries * UInt64(EpochFormat.recordEntryBytes)
  }
  var fileBytes: UInt64 { indexOffset + indexBytes + UInt64(EpochFormat.trailerBytes) }

  mutating func encode() -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: EpochFormat.trailerBytes)
    let fields = [
      fileBytes, indexOffset, pageEntries, recordEntries, dataPages, zeroPages, indexHash, headerHash,
    ]
    hash = bytes.withUnsafeMutableBytes { buffer in
      let start = buffer.baseAddress.unsafelyUnwrapped
      buffer.copyBytes(from: EpochFormat.trailerMagic)
      start.setLittle(8, UInt32(EpochFormat.version))
      start.setLittle(12, epoch)
      for (index, field) in fields.enumerated() { start.setLittle(16 + index * 8, field) }
      let hash = XXH3_64bits(start, EpochFormat.trailerBytes - 8)
      start.setLittle(EpochFormat.trailerBytes - 8, hash)
      return hash
    }
    return bytes
  }

  /// Checks all that can be known without the rest of the file but its size.
  init(decoding bytes: [UInt8], fileBytes: UInt64, path: String) throws(StoreError) {
    func damaged(_ what: String) -> StoreError { .damaged(path: path, what: what) }
    guard bytes.count == EpochFormat.trailerBytes, Array(bytes.prefix(8)) == EpochFormat.trailerMagic else {
      throw damaged("it has no trailer")
    }
    func field(_ offset: Int) -> UInt64 {
      bytes.withUnsafeBytes { $0.baseAddress.unsafelyUnwrapped.little(offset, UInt64.self) }
    }
    let computed = bytes.withUnsafeBytes { XXH3_64bits($0.baseAddress, EpochFormat.trailerBytes - 8) }
    guard computed == field(80) else { throw damaged("its trailer does not match its checksum") }
    let version = UInt32(truncatingIfNeeded: field(8))
    guard version == EpochFormat.version else { throw .otherFormat(path: path, version: Int(version)) }
    self.init(epoch: UInt32(truncatingIfNeeded: field(8) >> 32), indexOffset: field(24))
    (pageEntries, recordEntries) = (field(32), field(40))
    (dataPages, zeroPages, indexHash, headerHash) = (field(48), field(56), field(64), field(72))
    hash = computed
    guard field(16) == fileBytes else { throw damaged("it has \(fileBytes) bytes instead of \(field(16))") }
    guard pageEntries <= EpochFormat.indexLimit / UInt64(EpochFormat.pageEntryBytes),
      recordEntries <= UInt64(EpochFormat.recordCountLimit)
    else { throw damaged("its index is too large") }
    guard indexOffset >= UInt64(EpochFormat.headerBytes), indexOffset < fileBytes, self.fileBytes == fileBytes else {
      throw damaged("its index is not where the trailer says")
    }
  }
}
