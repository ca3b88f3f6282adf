import CXXHash
import Glibc

/// The index of an epoch file in memory, checked: every entry is within the format's limits, those of the file's own
/// frames within the file, and no page is answered for twice.
final class EpochIndex {
  let pageEntries: Int
  let records: [RecordEntry]
  /// Older epochs whose files the entries name, ascending.
  private(set) var needs: [UInt32] = []
  private let bytes: UnsafeMutableRawBufferPointer
  private let path: String

  init(file: StoreFile, trailer: EpochTrailer) throws(StoreError) {
    path = file.path
    // malloc, because the size comes from the file and a lack of memory must not end the process.
    guard let memory = malloc(max(1, Int(trailer.indexBytes))) else {
      throw .system(operation: "hold the index of", path: file.path, errno: ENOMEM)
    }
    bytes = UnsafeMutableRawBufferPointer(start: memory, count: Int(trailer.indexBytes))
    pageEntries = Int(trailer.pageEntries)
    do throws(StoreError) {
      try file.read(bytes, at: trailer.indexOffset)
      guard XXH3_64bits(memory, bytes.count) == trailer.indexHash else {
        throw .damaged(path: file.path, what: "its index does not match its checksum")
      }
      let firstRecord = UnsafeRawPointer(memory) + pageEntries * EpochFormat.pageEntryBytes
      records = try Self.records(firstRecord, trailer, path: file.path)
    } catch {
      // The class is not whole yet, so deinit will not run.
      free(memory)
      throw error
    }
    try checkPages(trailer)
  }

  deinit { free(bytes.baseAddress) }

  subscript(_ index: Int) -> PageEntry {
    precondition(index >= 0 && index < pageEntries)
    return PageEntry(
      decoding: UnsafeRawPointer(bytes.baseAddress.unsafelyUnwrapped) + index * EpochFormat.pageEntryBytes)
  }

  /// Entries of the group that entry `start` belongs to.
  func group(from start: Int) -> Range<Int> {
    let group = self[start].group
    var end = start + 1
    while end < pageEntries, self[end].group == group { end += 1 }
    return start..<end
  }

  /// The first entry of this group, or of the next that there is.
  func firstEntry(from group: UInt64) -> Int {
    var (low, high) = (0, pageEntries)
    while low < high {
      let middle = (low + high) / 2
      if self[middle].group < group { low = middle + 1 } else { high = middle }
    }
    return low
  }

  private static func records(
    _ first: UnsafeRawPointer, _ trailer: EpochTrailer, path: String
  ) throws(StoreError) -> [RecordEntry] {
    var records: [RecordEntry] = []
    var total: UInt64 = 0
    for index in 0..<Int(trailer.recordEntries) {
      guard let entry = RecordEntry(decoding: first + index * EpochFormat.recordEntryBytes),
        entry.length <= UInt64(EpochFormat.recordLimit),
        entry.offset >= UInt64(EpochFormat.headerBytes), entry.offset <= trailer.indexOffset,
        entry.length <= trailer.indexOffset - entry.offset
      else { throw .damaged(path: path, what: "record \(index) is not within the file") }
      total += entry.length
      records.append(entry)
    }
    // Otherwise a small file could claim the same bytes again and again and fill the reader's memory.
    guard total <= trailer.indexOffset else { throw .damaged(path: path, what: "its records overlap") }
    return records
  }

  private func checkPages(_ trailer: EpochTrailer) throws(StoreError) {
    var dataPages: UInt64 = 0
    var zeroPages: UInt64 = 0
    var start = 0
    var next: UInt64 = 0
    var older = Set<UInt32>()
    // Neighbours mostly name the same file.
    var last = trailer.epoch
    while start < pageEntries {
      let range = group(from: start)
      let group = self[start].group
      guard group >= next, group < EpochFormat.groupLimit else { throw damaged(start, "is out of order") }
      var claimed: UInt16 = 0
      for index in range {
        let entry = self[index]
        try check(entry, index, alone: range.count == 1, trailer)
        guard claimed & (entry.data | entry.zero) == 0 else { throw damaged(index, "claims a page twice") }
        guard index == range.lowerBound || isBefore(self[index - 1], entry) else {
          throw damaged(index, "is out of order")
        }
        if entry.hasFrame, entry.epoch != trailer.epoch, entry.epoch != last {
          last = entry.epoch
          older.insert(last)
        }
        claimed |= entry.data | entry.zero
        dataPages += UInt64(entry.data.nonzeroBitCount)
        zeroPages += UInt64(entry.zero.nonzeroBitCount)
      }
      next = group + 1
      start = range.upperBound
    }
    guard dataPages == trailer.dataPages, zeroPages == trailer.zeroPages else {
      throw .damaged(path: path, what: "its index does not have the pages that its trailer counts")
    }
    needs = older.sorted()
  }

  private func isBefore(_ left: PageEntry, _ right: PageEntry) -> Bool {
    (left.epoch, left.offset) < (right.epoch, right.offset)
  }

  private func check(_ entry: PageEntry, _ index: Int, alone: Bool, _ trailer: EpochTrailer) throws(StoreError) {
    guard entry.data & entry.zero == 0 else { throw damaged(index, "claims a page twice") }
    guard entry.types & ~PageEntry.nibbles(entry.data | entry.zero) == 0 else {
      throw damaged(index, "gives a type to a page that it does not have")
    }
    guard entry.hasFrame else {
      guard alone, entry.data == 0, entry.zero != 0, entry.offset == 0, entry.lower == 0, entry.upper == 0,
        entry.hash == 0, entry.epoch == 0
      else { throw damaged(index, "has pages but no frame") }
      return
    }
    let isOwn = entry.epoch == trailer.epoch
    guard isOwn || (entry.epoch > 0 && entry.epoch < trailer.epoch && entry.data != 0) else {
      throw damaged(index, "names epoch \(entry.epoch)")
    }
    // Where the data of an older file ends is not known here; its frames are proved when they are read.
    let limit = isOwn ? trailer.indexOffset : UInt64(Int64.max)
    guard entry.blocks <= EpochFormat.frameBlocks, entry.lower <= EpochFormat.halfLimit,
      entry.upper <= EpochFormat.halfLimit, entry.offset >= UInt64(EpochFormat.headerBytes), entry.offset < limit,
      entry.frameBytes <= limit - entry.offset
    else { throw damaged(index, "is not within the file") }
  }

  private func damaged(_ index: Int, _ what: String) -> StoreError {
    .damaged(path: path, what: "index entry \(index) \(what)")
  }
}
