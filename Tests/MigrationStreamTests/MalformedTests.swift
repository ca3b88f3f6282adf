import MigrationStream
import Testing

/// Streams that are damaged or made to hurt: each is refused by name, at the place where it went wrong.
struct MalformedTests {
  struct Case: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let bytes: [UInt8]
    let fault: StreamFault
    /// Where the offending header or record begins.
    let offset: Int

    /// `last` appended to `raw`, and refused there.
    init(
      _ name: String, _ raw: RawStream, _ type: UInt32, _ body: [UInt8], pad: UInt8 = 0,
      _ fault: StreamFault
    ) {
      testDescription = name
      bytes = raw.with(type, body, pad: pad).bytes
      self.fault = fault
      offset = raw.bytes.count
    }

    init(_ name: String, _ raw: RawStream, _ type: UInt32, _ fault: StreamFault) {
      self.init(name, raw, type, [], fault)
    }

    /// One byte of `raw` replaced.
    init(
      _ name: String, _ raw: [UInt8], set index: Int, to value: UInt8, _ fault: StreamFault,
      at offset: Int = 0
    ) {
      var bytes = raw
      bytes[index] = value
      testDescription = name
      self.bytes = bytes
      self.fault = fault
      self.offset = offset
    }
  }

  private func expect(_ test: Case, from layer: StreamLayer) {
    #expect(throws: StreamError.malformed(test.fault, offset: UInt64(test.offset))) {
      try readAll(test.bytes, from: layer)
    }
  }

  // MARK: Headers

  static let xl: [UInt8] =
    Array("Xen saved domain, xl format\n \0 \r".utf8) + little(UInt32(0x0102_0304)) + little(UInt32(3))
    + little(UInt32(0)) + little(UInt32(7)) + little(UInt32(3)) + Array("{}\0".utf8)

  @Test(arguments: [
    Case("magic", xl, set: 31, to: 0x0A, .xlMagic),
    Case("byte order", xl, set: 32, to: 1, .xlByteOrder(0x0102_0301)),
    Case("flags without stream v2", xl, set: 36, to: 1, .xlFlags(1)),
    Case("unknown mandatory flag", xl, set: 36, to: 7, .xlFlags(7)),
    Case("data length", xl, set: 44, to: 8, .xlConfigLength(3)),
    Case("config of 4 GiB", xl, set: 51, to: 0xFF, .xlConfigLength(0xFF00_0003)),
    Case("config not terminated", xl, set: 54, to: 0x20, .xlConfigLength(3)),
    Case("config ends early", xl, set: 53, to: 0, .xlConfigLength(3)),
  ])
  func xlHeader(test: Case) { expect(test, from: .xl) }

  @Test func xlConfigLengthMayNotOverflow() {
    let huge =
      Array(Self.xl[..<44]) + little(UInt32(3)) + little(UInt32.max) + [UInt8](repeating: 0, count: 64)
    #expect(throws: StreamError.malformed(.xlConfigLength(.max), offset: 0)) { try readAll(huge, from: .xl) }
  }

  @Test func optionalFlagsOfTheXLHeaderAreIgnored() throws {
    var bytes = Self.xl
    bytes[40] = 0xFF
    var reader = StreamReader(MemorySource(bytes))
    guard case .xlHeader(let config)? = try reader.next() else {
      Issue.record("no header")
      return
    }
    #expect(config == Array("{}".utf8))
  }

  static let libxl =
    Array("LibxlFmt".utf8) + [0, 0, 0, 2] + [0, 0, 0, 0] + little(UInt32(1)) + little(UInt32(0))
  static let libxlWhole = libxl + rawPVBeforeEnd().with(0).bytes

  @Test(arguments: [
    Case("ident", libxl, set: 0, to: 0x4D, .libxlIdent(0x4D69_6278_6C46_6D74)),
    Case("version", libxl, set: 11, to: 1, .version(1)),
    Case("big-endian", libxl, set: 15, to: 1, .options(1)),
    Case("no libxc context", libxl, set: 16, to: 2, .outOfPlace("libxl record 2"), at: 16),
    Case("END at once", libxl, set: 16, to: 0, .outOfPlace("libxl record 0"), at: 16),
    Case(
      "optional bit, which libxl does not know", libxl, set: 19, to: 0x80,
      .outOfPlace("libxl record 2147483649"), at: 16),
    Case(
      "record over the limit", libxl, set: 23, to: 0x7F, .bodyTooLong(type: 1, length: 0x7F00_0000), at: 16),
    Case("END with a body", RawStream(bytes: libxlWhole), 0, [1], .bodyLength(type: 0, length: 1)),
    Case("second libxc context", RawStream(bytes: libxlWhole), 1, .outOfPlace("libxl record 1")),
    Case("checkpoint", RawStream(bytes: libxlWhole), 4, .outOfPlace("libxl record 4")),
    Case(
      "emulator of a PV guest", RawStream(bytes: libxlWhole), 3, [2, 0, 0, 0, 0, 0, 0, 0],
      .outOfPlace("emulator state of a PV guest")),
  ])
  func libxlLayer(test: Case) { expect(test, from: .libxl) }

  static let hvmWhole = RawStream(bytes: libxl + rawHVMBeforeEnd().with(0).bytes)
  static let qemu: [UInt8] = [2, 0, 0, 0, 0, 0, 0, 0]

  @Test(arguments: [
    Case("no header", hvmWhole, 3, [2, 0, 0, 0], .bodyLength(type: 3, length: 4)),
    Case("traditional", hvmWhole, 3, [1, 0, 0, 0, 0, 0, 0, 0], .emulator(1)),
    Case("index", hvmWhole, 3, [2, 0, 0, 0, 9, 0, 0, 0], .reserved(9)),
    Case("text not terminated", hvmWhole, 2, qemu + Array("a\0b".utf8), .emulatorText),
    Case("key without value", hvmWhole, 2, qemu + Array("a\0".utf8), .emulatorText),
    Case("not UTF-8", hvmWhole, 2, qemu + [0xFF, 0, 0x41, 0], .emulatorText),
  ])
  func emulator(test: Case) { expect(test, from: .libxl) }

  @Test(arguments: [
    Case("marker", rawPV().bytes, set: 3, to: 0, .libxcMarker(0xFFFF_FF00_FFFF_FFFF)),
    Case("ident", rawPV().bytes, set: 8, to: 0, .libxcIdent(0x45_4E46)),
    Case("version 2", rawPV().bytes, set: 15, to: 2, .version(2)),
    Case("big-endian", rawPV().bytes, set: 17, to: 1, .options(1)),
    Case("reserved", rawPV().bytes, set: 23, to: 1, .reserved(1)),
    Case("domain type", rawPV().bytes, set: 24, to: 3, .domainType(3), at: 24),
    Case("page shift", rawPV().bytes, set: 28, to: 13, .pageShift(13), at: 24),
    Case("domain reserved", rawPV().bytes, set: 30, to: 1, .reserved(1), at: 24),
  ])
  func libxcHeaders(test: Case) { expect(test, from: .libxc) }

  // MARK: Records

  static let pv = RawStream.libxc(1)
  static func words(_ values: UInt32...) -> [UInt8] { values.flatMap { little($0) } }

  @Test(arguments: [
    Case("unknown mandatory", pv, 0x55, .unknownRecord(0x55)),
    Case("toolstack", rawPV(), 0x0B, .unknownRecord(0x0B)),
    Case("verify", rawPV(), 0x0D, .unknownRecord(0x0D)),
    Case("checkpoint", rawPVBeforeEnd(), 0x0E, .unknownRecord(0x0E)),
    Case("dirty list", rawPV(), 0x0F, .unknownRecord(0x0F)),
    Case("padding", rawHVM(), 9, [1], pad: 7, .padding(type: 9)),
    Case("padding of an optional record", rawHVM(), 0x8000_0001, [1], pad: 7, .padding(type: 0x8000_0001)),
    Case("PV info length", pv, 2, [8, 4], .bodyLength(type: 2, length: 2)),
    Case("PV info levels", pv, 2, [8, 3, 0, 0, 0, 0, 0, 0], .pvInfo(width: 8, levels: 3)),
    Case("PV info reserved", pv, 2, [8, 4, 0, 0, 0, 0, 0, 1], .reserved(0x0100_0000_0000_0408)),
    Case("static end with a body", rawPV(), 0x10, [1], .bodyLength(type: 0x10, length: 1)),
    Case(
      "CPUID not whole leaves", pv, 0x11, [UInt8](repeating: 0, count: 25),
      .bodyLength(type: 0x11, length: 25)),
    Case("MSRs empty", pv, 0x12, .bodyLength(type: 0x12, length: 0)),
    Case("p2m short", rawPV(), 3, words(0, 1), .bodyLength(type: 3, length: 8)),
    Case("p2m reversed", rawPV(), 3, words(5, 1, 0, 0), .p2mRange(start: 5, end: 1)),
    Case("p2m frames missing", rawPV(), 3, words(0, 512, 0, 0), .bodyLength(type: 3, length: 16)),
    Case("p2m of 4 billion pfns", rawPV(), 3, words(0, .max, 0, 0), .bodyLength(type: 3, length: 16)),
    Case("p2m gap", rawPV(), 3, words(1025, 1026, 0, 0), .p2mRange(start: 1025, end: 1026)),
    Case("p2m frame outside", rawPV(), 3, words(0, 5, 1024, 0), .pfnRange(1024)),
    Case("vCPU without id", rawPV(), 4, [0], .bodyLength(type: 4, length: 1)),
    Case("vCPU reserved", rawPV(), 4, words(0, 3, 0, 0), .reserved(3)),
    Case("vCPU id", rawPV(), 0x0C, words(8192, 0, 0, 0, 0, 0), .vcpuRange(8192)),
    Case("vCPU basic size", rawPV(), 4, words(0, 0, 0, 0), .bodyLength(type: 4, length: 16)),
    Case(
      "vCPU extended size", rawPV(), 5, [UInt8](repeating: 0, count: 137), .bodyLength(type: 5, length: 137)),
    Case("vCPU xsave size", rawPV(), 6, [UInt8](repeating: 0, count: 23), .bodyLength(type: 6, length: 23)),
    Case(
      "vCPU MSRs size", rawPV(), 0x0C, [UInt8](repeating: 0, count: 25), .bodyLength(type: 0x0C, length: 25)),
    Case("shared info size", rawPV(), 7, [0], .bodyLength(type: 7, length: 1)),
    Case("TSC size", rawPV(), 8, [0], .bodyLength(type: 8, length: 1)),
    Case("TSC reserved", rawPV(), 8, words(0, 0, 0, 0, 0, 6), .reserved(6)),
    Case("HVM context empty", rawHVM(), 9, .bodyLength(type: 9, length: 0)),
    Case("HVM params count", rawHVM(), 0x0A, words(2, 0, 0, 0, 0, 0), .bodyLength(type: 0x0A, length: 24)),
    Case("HVM params of 4 billion", rawHVM(), 0x0A, words(.max, 0), .bodyLength(type: 0x0A, length: 8)),
    Case("HVM params reserved", rawHVM(), 0x0A, words(0, 1), .reserved(1)),
    Case("END with a body", rawPVBeforeEnd(), 0, [0], .bodyLength(type: 0, length: 1)),
  ])
  func record(test: Case) { expect(test, from: .libxc) }

  @Test(arguments: [
    Case("no count", rawPV(), 1, [1], .bodyLength(type: 1, length: 1)),
    Case("no entry", rawPV(), 1, words(0, 0), .pageCount(0)),
    Case("reserved", rawPV(), 1, words(1, 1, 0, 0), .reserved(1)),
    Case(
      "more entries than bytes", rawPV(), 1, words(2, 0, 0, 0xF000_0000), .bodyLength(type: 1, length: 16)),
    Case("4 billion entries", rawPV(), 1, words(.max, 0, 0, 0), .bodyLength(type: 1, length: 16)),
    Case("page missing", rawPV(), 1, words(1, 0, 0, 0), .bodyLength(type: 1, length: 16)),
    Case("page too many", rawPV(), 1, onePage(1) + page(2), .bodyLength(type: 1, length: 8208)),
    Case(
      "page for a type without", rawPV(), 1, words(1, 0, 0, 0xF000_0000) + page(0),
      .bodyLength(type: 1, length: 4112)),
    Case(
      "reserved bits of an entry", rawPV(), 1, words(1, 0, 0, 0x0010_0000), .reserved(0x0010_0000_0000_0000)),
    Case("type 5", rawPV(), 1, words(1, 0, 0, 0x5000_0000), .pageType(5)),
    Case("type 8", rawPV(), 1, words(1, 0, 0, 0x8000_0000), .pageType(8)),
    Case("PV pfn outside the p2m", rawPV(), 1, words(1, 0, 1024, 0xF000_0000), .pfnRange(1024)),
    Case("HVM pfn above 52 address bits", rawHVM(), 1, words(1, 0, 0, 0xF000_0100), .pfnRange(1 << 40)),
    Case("HVM page table", rawHVM(), 1, words(1, 0, 0, 0x1000_0000) + page(0), .pageType(1)),
  ])
  func pageData(test: Case) { expect(test, from: .libxc) }

  @Test func lengthOverTheLimitIsRefusedBeforeAByteIsRead() {
    let bytes = rawPV().bytes + little(UInt32(1)) + little(UInt32(128 << 20) + 1)
    let fault = StreamFault.bodyTooLong(type: 1, length: 128 << 20 + 1)
    #expect(throws: StreamError.malformed(fault, offset: UInt64(rawPV().bytes.count))) { try readAll(bytes) }
  }

  // MARK: Cut and damaged anywhere

  @Test(arguments: [(DomainKind.hvm, 1), (.pv, 61)])
  func streamCutAnywhereIsAnError(kind: DomainKind, step: Int) throws {
    let raw = kind == .hvm ? rawHVMBeforeEnd() : rawPVBeforeEnd()
    let whole = Self.xl + Self.libxl + raw.with(0).bytes + [UInt8](repeating: 0, count: 8)
    _ = try readAll(whole, from: .xl)
    for length in stride(from: 0, to: whole.count, by: step) {
      do {
        _ = try readAll(Array(whole[..<length]), from: .xl)
        Issue.record("cut at \(length) passed")
      } catch {
        guard case .truncated(let offset, let wanted, let got) = error else {
          Issue.record("cut at \(length): \(error)")
          continue
        }
        #expect(offset + UInt64(got) == UInt64(length) && got < wanted)
      }
    }
  }

  @Test func noDamagedByteIsATrap() throws {
    let whole = Self.xl + Self.libxl + rawHVMBeforeEnd().with(0).bytes + [UInt8](repeating: 0, count: 8)
    let pageBytes = (whole.count - 200)..<whole.count
    var refused = 0
    for index in whole.indices where index < 300 || pageBytes.contains(index) {
      for value: UInt8 in [0x00, 0x01, 0x7F, 0x80, 0xFF] {
        var damaged = whole
        damaged[index] = value
        do { _ = try readAll(damaged, from: .xl) } catch { refused += 1 }
      }
    }
    #expect(refused > 500)
  }
}
