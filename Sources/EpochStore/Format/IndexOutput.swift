/// The way of an epoch's index to its file: counts and hashes what goes through.
final class IndexOutput {
  /// Page entries so far, and pages in their masks.
  private(set) var entries: UInt64 = 0
  private(set) var dataPages: UInt64 = 0
  private(set) var zeroPages: UInt64 = 0
  /// Older epochs whose files the entries name.
  private(set) var needs: Set<UInt32> = []

  private let epoch: UInt32
  private let output: HashedOutput
  /// The epoch that the last entry with a frame names: neighbours mostly name the same.
  private var last: UInt32

  init(file: StoreFile, offset: UInt64, epoch: UInt32) {
    self.epoch = epoch
    last = epoch
    output = HashedOutput(file: file, offset: offset)
  }

  func add(_ entry: PageEntry) throws(StoreError) {
    count(entry.epoch, entry.data, entry.zero)
    try output.add(EpochFormat.pageEntryBytes) { entry.encode(to: $0) }
  }

  /// Adds encoded page entries, at most 1 MiB.
  func add(_ encoded: UnsafeRawBufferPointer) throws(StoreError) {
    let start = encoded.baseAddress.unsafelyUnwrapped
    for offset in stride(from: 0, to: encoded.count, by: EpochFormat.pageEntryBytes) {
      let entry = start + offset
      count(entry.little(32, UInt32.self), entry.little(36, UInt16.self), entry.little(38, UInt16.self))
    }
    try output.add(encoded.count) { $0.copyMemory(from: start, byteCount: encoded.count) }
  }

  func add(_ record: RecordEntry) throws(StoreError) {
    try output.add(EpochFormat.recordEntryBytes) { record.encode(to: $0) }
  }

  /// Writes what is left; returns the XXH3 of all.
  func finish() throws(StoreError) -> UInt64 { try output.finish() }

  @inline(__always)
  private func count(_ named: UInt32, _ data: UInt16, _ zero: UInt16) {
    entries += 1
    dataPages += UInt64(data.nonzeroBitCount)
    zeroPages += UInt64(zero.nonzeroBitCount)
    // 0 names no file: the group has no frame.
    guard named != last, named != 0, named != epoch else { return }
    last = named
    needs.insert(named)
  }
}
