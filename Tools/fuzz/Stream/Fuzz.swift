import MigrationStream
import Support

/// The migration stream: xl header, libxl layer, libxc layer. The first byte says with which layer the rest begins.
@_cdecl("LLVMFuzzerInitialize")
public func begin(_: UnsafeMutableRawPointer?, _: UnsafeMutableRawPointer?) -> CInt {
  Fuzz.offer {
    [DomainKind.pv, .hvm].flatMap { [[0] + seed($0), [1] + seed($0).dropFirst(55), [2] + seed($0).dropFirst(79)] }
  }
  return 0
}

@_cdecl("LLVMFuzzerTestOneInput")
public func run(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  guard count > 0 else { return 0 }
  let layers: [StreamLayer] = [.xl, .libxl, .libxc]
  let layer = layers[Int(data[0]) % layers.count]
  let bytes = Fuzz.bytes(data + 1, count - 1)
  guard let events = try? read(bytes, layer) else { return 0 }
  // Reader and writer know the same rules: what one takes, the other writes. Only larger batches are never written.
  if events.contains(where: \.isLargeBatch) { return 0 }
  do {
    let copy = try write(events)
    Fuzz.expect(try write(read(copy, layer)) == copy, "read and written again, the stream is another")
  } catch {
    fatalError("the writer refuses what the reader took: \(error)")
  }
  return 0
}

extension StreamEvent {
  fileprivate var isLargeBatch: Bool {
    if case .pageData(let batch) = self { batch.entries.count > PageBatch.maximumEntries } else { false }
  }
}

private func read(_ bytes: [UInt8], _ layer: StreamLayer) throws(StreamError) -> [StreamEvent] {
  var reader = StreamReader(MemorySource(bytes), startingAt: layer)
  var events: [StreamEvent] = []
  while let event = try reader.next() {
    events.append(event)
    if case .record(let record) = event { Fuzz.expect((try? RecordBody(record)) != nil, "a record that was checked") }
    if case .pageData(let batch) = event {
      batch.forEachEntry { entry, page in
        Fuzz.expect(entry.type.carriesData == (page != nil), "a page where the type says so")
        if let page { Fuzz.expect(page.count == pageSize && page[pageSize - 1] <= 255, "a whole page") }
      }
    }
  }
  return events
}

private func write(_ events: [StreamEvent]) throws(StreamError) -> [UInt8] {
  var writer = StreamWriter(MemorySink())
  for event in events {
    switch event {
    case .xlHeader(let config): try writer.writeXLHeader(configJSON: config)
    case .libxlHeader: try writer.beginLibxl()
    case .libxcHeader(let header):
      try writer.beginLibxc(kind: header.kind, xenMajor: header.xenMajor, xenMinor: header.xenMinor)
    case .record(let record): try writer.write(record)
    case .pageData(let batch):
      var failure: StreamError?
      batch.withPages { pages in
        do throws(StreamError) { try writer.writePageData(batch.entries, pages: pages) } catch { failure = error }
      }
      if let failure { throw failure }
    case .libxcEnd: try writer.endLibxc()
    case .emulator(let record): try writer.write(record)
    case .libxlEnd: try writer.endLibxl()
    }
  }
  return writer.sink.bytes
}

/// A small guest's whole stream.
private func seed(_ kind: DomainKind) -> [UInt8] {
  func guest() throws(StreamError) -> [UInt8] {
    var writer = StreamWriter(MemorySink())
    try writer.writeXLHeader(configJSON: Array("{}".utf8))
    try writer.beginLibxl()
    try writer.beginLibxc(kind: kind, xenMajor: 4, xenMinor: 17)
    if kind == .pv { try writer.write(.pvInfo(width: 8, levels: 4)) }
    try writer.write(.cpuidPolicy([UInt8](repeating: 1, count: 24)))
    try writer.write(.msrPolicy([UInt8](repeating: 2, count: 16)))
    try writer.write(.staticDataEnd)
    if kind == .pv { try writer.write(.pvP2MFrames(start: 0, end: 1023, pfns: [5, 6])) }
    let page = [UInt8](repeating: 7, count: pageSize)
    var failure: StreamError?
    page.withUnsafeBytes { page in
      do throws(StreamError) {
        try writer.writePageData(
          [PageEntry(pfn: 9, type: .normal), PageEntry(pfn: 10, type: .allocateOnly)], pages: page)
      } catch { failure = error }
    }
    if let failure { throw failure }
    try writer.write(.tscInfo(TSCInfo(mode: 0, kilohertz: 2_400_000, nanoseconds: 1 << 40, incarnation: 2)))
    if kind == .pv {
      try writer.write(.sharedInfo([UInt8](repeating: 0, count: pageSize)))
      try writer.write(.pvVCPU(.basic, id: 0, blob: [UInt8](repeating: 4, count: 5168)))
      try writer.write(.pvVCPU(.extended, id: 0, blob: [UInt8](repeating: 5, count: 64)))
      try writer.write(.pvVCPU(.xsave, id: 0, blob: [UInt8](repeating: 6, count: 48)))
      try writer.write(.pvVCPU(.msrs, id: 0, blob: [UInt8](repeating: 7, count: 32)))
    } else {
      try writer.write(.hvmContext([UInt8](repeating: 8, count: 33)))
      try writer.write(.hvmParams([HVMParam(index: 1, value: 0xFEFFC), HVMParam(index: 17, value: 0xFEFFF)]))
    }
    try writer.endLibxc()
    if kind == .hvm {
      try writer.write(.xenstoreData([.init(key: "a/b", value: "c")]))
      try writer.write(.context([1, 2, 3]))
    }
    try writer.endLibxl()
    return writer.sink.bytes
  }
  do { return try guest() } catch { fatalError("\(error)") }
}
