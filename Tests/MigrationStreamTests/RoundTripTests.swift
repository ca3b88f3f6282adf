import MigrationStream
import Testing

struct RoundTripTests {
  @Test(arguments: [DomainKind.pv, .hvm])
  func everyPageAndRecordComesBack(kind: DomainKind) throws {
    var writer = StreamWriter(MemorySink())
    try writeGuest(kind, to: &writer)
    let events = try readAll(writer.sink.bytes, from: .xl)

    var batches: [[PageEntry]] = []
    var records: [RecordBody] = []
    var frame: [String] = []
    for event in events {
      switch event {
      case .xlHeader(let config): frame.append(String(decoding: config, as: UTF8.self))
      case .libxlHeader: frame.append("libxl")
      case .libxcHeader(let header): frame.append("\(header.kind) \(header.xenMajor).\(header.xenMinor)")
      case .record(let record): records.append(try RecordBody(record))
      case .pageData(let batch):
        batches.append(batch.entries)
        batch.forEachEntry { entry, bytes in
          #expect((bytes != nil) == entry.type.carriesData)
          if let bytes { #expect(Array(bytes) == page(entry.pfn)) }
        }
      case .libxcEnd: frame.append("libxc end")
      case .emulator: frame.append("emulator")
      case .libxlEnd: frame.append("libxl end")
      }
    }
    #expect(frame == [#"{"c_info":{"type":"pv"}}"#, "libxl", "\(kind) 4.17", "libxc end", "libxl end"])
    #expect(batches == sampleBatches(kind))
    #expect(records.count == (kind == .pv ? 11 : 6))
    #expect(records.contains(.cpuidPolicy([UInt8](repeating: 1, count: 48))))
    if kind == .pv {
      #expect(records.contains(.pvP2MFrames(start: 0, end: 5000, pfns: Array(100..<110))))
      #expect(records.contains(.pvVCPU(.xsave, id: 0, blob: [UInt8](repeating: 6, count: 593))))
    } else {
      #expect(
        records.last == .hvmParams([HVMParam(index: 1, value: 0xFEFFC), HVMParam(index: 17, value: 0xFEFFF)]))
    }
  }

  @Test func emulatorStateComesBack() throws {
    let state: [EmulatorRecord] = [
      .xenstoreData([.init(key: "physmap/f0000000/size", value: "800000"), .init(key: "empty", value: "")]),
      .xenstoreData([]), .context(Array(0...200)),
    ]
    var writer = StreamWriter(MemorySink())
    try writer.beginLibxl()
    try writer.beginLibxc(kind: .hvm, xenMajor: 4, xenMinor: 17)
    try writer.write(.staticDataEnd)
    try writer.writeSample([PageEntry(pfn: 1, type: .normal)])
    try writer.write(.tscInfo(TSCInfo(mode: 0, kilohertz: 1, nanoseconds: 0, incarnation: 0)))
    try writer.write(.hvmContext([1]))
    try writer.write(.hvmParams([HVMParam(index: 1, value: 2)]))
    try writer.endLibxc()
    for record in state { try writer.write(record) }
    try writer.endLibxl()
    var got: [EmulatorRecord] = []
    for case .emulator(let record) in try readAll(writer.sink.bytes, from: .libxl) { got.append(record) }
    #expect(got == state)
  }

  @Test func unknownOptionalRecordIsSkipped() throws {
    let raw = rawHVM().with(0x8000_0055, [1, 2, 3]).with(1, onePage(9))
    let whole = raw.bytes + rawHVMBeforeEnd().with(0).bytes[(rawHVM().bytes.count + 8 + onePage(9).count)...]
    #expect(try readAll(whole).count == readAll(rawHVMBeforeEnd().with(0).bytes).count)
  }

  @Test func recordLongerThanWhatIsTrustedAtOnce() throws {
    // 9 MiB of HVM context: read in parts, and whole again.
    let context = (0..<UInt64(9 << 8)).reduce(into: [UInt8]()) { $0 += page($1) }
    let raw = rawHVM().with(1, onePage(9)).with(9, context)
    var reader = StreamReader(MemorySource(raw.bytes), startingAt: .libxc)
    var got: Record?
    for _ in 0..<4 { if case .record(let record)? = try reader.next() { got = record } }
    #expect(got?.type == .hvmContext)
    #expect(got?.body == context)
    #expect(reader.offset == UInt64(raw.bytes.count))
  }

  @Test func pageTypesSayWhatXenDoesWithThem() {
    let data = PageType.allCases.filter(\.carriesData)
    #expect(data == [.normal, .l1, .l2, .l3, .l4, .l1Pinned, .l2Pinned, .l3Pinned, .l4Pinned])
    #expect(PageType.allCases.filter(\.isPopulated) == data + [.allocateOnly])
    #expect(data.map(\.tableLevel) == [0, 1, 2, 3, 4, 1, 2, 3, 4])
    #expect(PageType.allCases.filter(\.isPageTable) == Array(data.dropFirst()))
  }
}
