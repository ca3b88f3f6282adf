import EpochStore

/// A core of the kind that Linux's kdump writes: what crash and gdb open for a PVH guest, whose memory is at its physical addresses.
///
///     header, program headers
///     notes: the registers of each vCPU, VMCOREINFO
///     memory, each range behind the other, on page borders
///
/// A range's virtual address is its physical one, so that gdb reads physical memory; the kernel's text and data are there a second time,
/// at the addresses that its symbols have.
struct KdumpCore {
  private let head: [UInt8]
  private let runs: [Range<UInt64>]
  /// Where each range begins in the file.
  private let places: [UInt64]
  let bytes: UInt64

  private static let pageBytes = UInt64(EpochFormat.pageSize)

  init(_ runs: PageRuns, _ vcpus: [CoreRegisters], _ info: VMCoreInfo?) {
    self.runs = runs.runs
    let notes = vcpus.flatMap(\.note) + (info?.note ?? [])
    // One more than there are ranges: the kernel's second place, which may be missing.
    let notesAt = ELF.headerBytes + UInt64(self.runs.count + 2) * ELF.programHeaderBytes
    var place = (notesAt + UInt64(notes.count) + Self.pageBytes - 1) / Self.pageBytes * Self.pageBytes
    var places: [UInt64] = []
    var headers = [ELF.ProgramHeader(kind: .note, offset: notesAt, bytes: UInt64(notes.count))]
    for run in self.runs {
      let (start, length) = (run.lowerBound * Self.pageBytes, UInt64(run.count) * Self.pageBytes)
      headers.append(.init(kind: .load, offset: place, virtual: start, physical: start, bytes: length))
      places.append(place)
      place += length
    }
    (self.places, bytes) = (places, place)
    if let kernel = Self.kernel(info, headers.dropFirst()) { headers.append(kernel) }
    var head = ELF.header(programHeaders: headers.count) + headers.flatMap(\.encoded)
    head.append(contentsOf: repeatElement(0, count: Int(notesAt) - head.count))
    self.head = head + notes
  }

  /// The range with the kernel's text, from there on, at its virtual address; nil when the guest's own words do not lead to memory.
  private static func kernel(_ info: VMCoreInfo?, _ ranges: some Collection<ELF.ProgramHeader>) -> ELF.ProgramHeader? {
    guard let text = info?.kernelText else { return nil }
    let inPage = text.physical % pageBytes
    guard text.virtual % pageBytes == inPage else { return nil }
    let physical = text.physical - inPage
    guard let range = ranges.first(where: { physical >= $0.physical && physical - $0.physical < $0.bytes }) else {
      return nil
    }
    let skipped = physical - range.physical
    // KERNEL_IMAGE_SIZE, and not beyond the last address.
    let most = min(1 << 30, UInt64.max - text.virtual)
    let bytes = min(range.bytes - skipped, most) / pageBytes * pageBytes
    guard bytes > 0 else { return nil }
    return .init(
      kind: .load, offset: range.offset + skipped, virtual: text.virtual - inPage, physical: physical, bytes: bytes)
  }

  func write(_ reader: EpochReader, to output: inout CoreOutput, threads: Int) throws {
    try output.write(head)
    var number = 0
    try reader.forEachStretch(threads: threads) { pfn, pages in
      while pfn >= runs[number].upperBound { number += 1 }
      try output.skip(to: places[number] + (pfn - runs[number].lowerBound) * Self.pageBytes)
      try output.write(pages: pages)
    }
    try output.skip(to: bytes)
    try output.finish()
  }
}

extension EpochReader {
  /// Pages side by side, as many at a time as a batch has, in the order of pfns.
  func forEachStretch(threads: Int, _ body: (_ first: UInt64, _ pages: UnsafeRawBufferPointer) throws -> Void) throws {
    let pageBytes = EpochFormat.pageSize
    try forEachBatch(threads: threads) { batch in
      var start = 0
      while start < batch.pfns.count {
        var end = start + 1
        while end < batch.pfns.count, batch.pfns[end] == batch.pfns[end - 1] + 1 { end += 1 }
        try body(
          batch.pfns[start], UnsafeRawBufferPointer(rebasing: batch.bytes[(start * pageBytes)..<(end * pageBytes)]))
        start = end
      }
    }
  }
}
