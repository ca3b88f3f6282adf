import MigrationStream
import Testing

/// What goes into a stream, byte for byte as Xen's specifications lay it out.
struct GoldenTests {
  private func written(_ body: (inout StreamWriter<MemorySink>) throws -> Void) rethrows -> [UInt8] {
    var writer = StreamWriter(MemorySink())
    try body(&writer)
    return writer.sink.bytes
  }

  /// A record as it stands in a stream in which it is allowed: the bytes that one more call adds.
  private func added(
    _ kind: DomainKind, after records: [RecordBody], _ last: (inout StreamWriter<MemorySink>) throws -> Void
  ) throws -> [UInt8] {
    var writer = StreamWriter(MemorySink())
    try writer.beginLibxc(kind: kind, xenMajor: 4, xenMinor: 17)
    for record in records { try writer.write(record) }
    let before = writer.sink.bytes.count
    try last(&writer)
    return Array(writer.sink.bytes[before...])
  }

  private let pvStatic: [RecordBody] = [.pvInfo(width: 8, levels: 4), .staticDataEnd]
  private var pvMemory: [RecordBody] { pvStatic + [.pvP2MFrames(start: 0, end: 600, pfns: [7, 8])] }

  @Test func xlHeader() throws {
    let bytes = try written { try $0.writeXLHeader(configJSON: Array("{}".utf8)) }
    #expect(
      bytes == Array("Xen saved domain, xl format\n \0 \r".utf8)
        + [0x04, 0x03, 0x02, 0x01]  // byte order
        + [3, 0, 0, 0]  // mandatory: JSON, stream v2
        + [0, 0, 0, 0]  // optional flags
        + [7, 0, 0, 0]  // optional data: the next word and the config
        + [3, 0, 0, 0]  // config with its NUL
        + [0x7B, 0x7D, 0])
  }

  @Test func libxlAndLibxcHeaders() throws {
    let bytes = try written {
      try $0.beginLibxl()
      try $0.beginLibxc(kind: .hvm, xenMajor: 4, xenMinor: 17)
    }
    #expect(
      bytes == Array("LibxlFmt".utf8)
        + [0, 0, 0, 2]  // version, big-endian
        + [0, 0, 0, 0]  // options
        + [1, 0, 0, 0, 0, 0, 0, 0]  // LIBXC_CONTEXT, empty
        + [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]  // image marker
        + Array("XENF".utf8)
        + [0, 0, 0, 3]  // version, big-endian
        + [0, 0, 0, 0, 0, 0, 0, 0]  // options, reserved
        + [2, 0, 0, 0]  // HVM and PVH
        + [12, 0, 0, 0]  // page shift, reserved
        + [4, 0, 0, 0, 17, 0, 0, 0])
  }

  @Test func bareLibxcHasNoContextRecord() throws {
    let bytes = try written { try $0.beginLibxc(kind: .pv, xenMajor: 4, xenMinor: 17) }
    #expect(bytes == RawStream.libxc(1).bytes)
  }

  @Test func staticRecords() throws {
    #expect(
      try added(.pv, after: []) { try $0.write(.pvInfo(width: 8, levels: 4)) }
        == [2, 0, 0, 0, 8, 0, 0, 0] + [8, 4, 0, 0, 0, 0, 0, 0])
    #expect(
      try added(.hvm, after: []) { try $0.write(.cpuidPolicy(Array(1...24))) }
        == [0x11, 0, 0, 0, 24, 0, 0, 0] + Array(1...24))
    #expect(
      try added(.hvm, after: []) { try $0.write(.msrPolicy(Array(1...16))) }
        == [0x12, 0, 0, 0, 16, 0, 0, 0] + Array(1...16))
    #expect(try added(.hvm, after: []) { try $0.write(.staticDataEnd) } == [0x10, 0, 0, 0, 0, 0, 0, 0])
  }

  @Test func p2mFrames() throws {
    #expect(
      try added(.pv, after: pvStatic) { try $0.write(.pvP2MFrames(start: 0, end: 600, pfns: [7, 0x102])) }
        == [3, 0, 0, 0, 24, 0, 0, 0]
        + [0, 0, 0, 0, 0x58, 2, 0, 0]  // pfns 0–600: two frames of 512 entries
        + [7, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0])
  }

  @Test func pageData() throws {
    let entries = [
      PageEntry(pfn: 0x123, type: .l4Pinned), PageEntry(pfn: 0x124, type: .invalid),
      PageEntry(pfn: 0x125, type: .normal),
    ]
    let bytes = try added(.pv, after: pvMemory) { try $0.writeSample(entries) }
    #expect(
      bytes == [1, 0, 0, 0] + little(UInt32(8 + 24 + 8192))
        + [3, 0, 0, 0, 0, 0, 0, 0]  // count, reserved
        + [0x23, 1, 0, 0, 0, 0, 0, 0xC0]  // type in the top nibble
        + [0x24, 1, 0, 0, 0, 0, 0, 0xF0]
        + [0x25, 1, 0, 0, 0, 0, 0, 0x00]
        + page(0x123) + page(0x125))
  }

  @Test(arguments: [
    (VCPUState.basic, UInt8(4), 5168), (.extended, 5, 64), (.xsave, 6, 21), (.msrs, 0x0C, 16),
  ])
  func vcpu(state: VCPUState, type: UInt8, size: Int) throws {
    let blob = (0..<size).map { UInt8(truncatingIfNeeded: $0) }
    let bytes = try added(.pv, after: pvMemory) { try $0.write(.pvVCPU(state, id: 3, blob: blob)) }
    let padding = [UInt8](repeating: 0, count: (8 - size % 8) % 8)
    #expect(
      bytes == [type, 0, 0, 0] + little(UInt32(8 + size)) + [3, 0, 0, 0, 0, 0, 0, 0] + blob + padding)
  }

  @Test func finalRecords() throws {
    #expect(
      try added(.pv, after: pvMemory) { try $0.write(.sharedInfo(page(1))) }
        == [7, 0, 0, 0, 0, 0x10, 0, 0] + page(1))
    let tsc = TSCInfo(mode: 2, kilohertz: 0x0102, nanoseconds: 0x0304, incarnation: 5)
    #expect(
      try added(.hvm, after: [.staticDataEnd]) { try $0.write(.tscInfo(tsc)) }
        == [8, 0, 0, 0, 24, 0, 0, 0]
        + [2, 0, 0, 0, 2, 1, 0, 0, 4, 3, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0])
    #expect(
      try added(.hvm, after: [.staticDataEnd]) { try $0.write(.hvmContext([9, 8, 7])) }
        == [9, 0, 0, 0, 3, 0, 0, 0] + [9, 8, 7, 0, 0, 0, 0, 0])
    #expect(
      try added(.hvm, after: [.staticDataEnd]) {
        try $0.write(.hvmParams([HVMParam(index: 17, value: 0xFEFF)]))
      }
        == [0x0A, 0, 0, 0, 24, 0, 0, 0] + [1, 0, 0, 0, 0, 0, 0, 0]
        + [17, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFE, 0, 0, 0, 0, 0, 0])
  }

  @Test func emulatorRecordsAndBothEnds() throws {
    var writer = StreamWriter(MemorySink())
    try writer.beginLibxl()
    try writer.beginLibxc(kind: .hvm, xenMajor: 4, xenMinor: 17)
    try writer.write(.staticDataEnd)
    try writer.writeSample([PageEntry(pfn: 0, type: .normal)])
    try writer.write(.tscInfo(TSCInfo(mode: 0, kilohertz: 1, nanoseconds: 0, incarnation: 0)))
    try writer.write(.hvmContext([1]))
    try writer.write(.hvmParams([HVMParam(index: 1, value: 2)]))
    let before = writer.sink.bytes.count
    try writer.endLibxc()
    try writer.write(.xenstoreData([.init(key: "a/b", value: "c")]))
    try writer.write(.context([0xAA]))
    try writer.endLibxl()
    #expect(
      Array(writer.sink.bytes[before...]) == [0, 0, 0, 0, 0, 0, 0, 0]  // END of libxc
        + [2, 0, 0, 0, 14, 0, 0, 0] + [2, 0, 0, 0, 0, 0, 0, 0] + Array("a/b\0c\0".utf8) + [0, 0]
        + [3, 0, 0, 0, 9, 0, 0, 0] + [2, 0, 0, 0, 0, 0, 0, 0] + [0xAA, 0, 0, 0, 0, 0, 0, 0]
        + [0, 0, 0, 0, 0, 0, 0, 0])  // END of libxl
  }
}
