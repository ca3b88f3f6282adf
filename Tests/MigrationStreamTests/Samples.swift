import MigrationStream

/// A page that nobody could mistake for another, nor for a shifted one.
func page(_ number: UInt64) -> [UInt8] {
  var words = [UInt64](repeating: (number + 1) &* 0x9E37_79B9_7F4A_7C15, count: 512)
  words[0] = number
  words[511] = ~number
  return words.withUnsafeBytes(Array.init)
}

func little(_ value: some FixedWidthInteger) -> [UInt8] {
  withUnsafeBytes(of: value.littleEndian, Array.init)
}
func big(_ value: some FixedWidthInteger) -> [UInt8] { withUnsafeBytes(of: value.bigEndian, Array.init) }

/// Stream bytes written by hand, so that the reader is tested against the format and not against our writer.
struct RawStream {
  var bytes: [UInt8] = []

  static func libxc(_ kind: UInt32) -> RawStream {
    var raw = RawStream()
    raw.bytes += big(UInt64.max) + big(UInt32(0x5845_4E46)) + big(UInt32(3)) + big(UInt64(0))
    raw.bytes +=
      little(kind) + little(UInt16(12)) + little(UInt16(0)) + little(UInt32(4)) + little(UInt32(17))
    return raw
  }

  /// Bytes before the first record of `libxc(_:)`.
  static let headerLength = 40

  mutating func record(_ type: UInt32, _ body: [UInt8] = [], pad: UInt8 = 0) {
    bytes += little(type) + little(UInt32(body.count)) + body
    while bytes.count % 8 != 0 { bytes.append(pad) }
  }

  func with(_ type: UInt32, _ body: [UInt8] = [], pad: UInt8 = 0) -> RawStream {
    var copy = self
    copy.record(type, body, pad: pad)
    return copy
  }
}

let pvInfo64: [UInt8] = [8, 4, 0, 0, 0, 0, 0, 0]
let tscBody =
  little(UInt32(0)) + little(UInt32(2_400_000)) + little(UInt64(77)) + little(UInt32(1)) + little(UInt32(0))

/// A PV stream up to the place where memory may begin; its p2m covers pfns 0–1023.
func rawPV() -> RawStream {
  RawStream.libxc(1).with(2, pvInfo64).with(0x10)
    .with(3, little(UInt32(0)) + little(UInt32(1023)) + little(UInt64(5)) + little(UInt64(6)))
}

/// One normal page at `pfn`.
func onePage(_ pfn: UInt64) -> [UInt8] {
  little(UInt32(1)) + little(UInt32(0)) + little(pfn) + page(pfn)
}

/// A PV stream with all but END.
func rawPVBeforeEnd() -> RawStream {
  rawPV().with(1, onePage(9)).with(8, tscBody).with(7, page(0))
    .with(4, little(UInt64(0)) + [UInt8](repeating: 3, count: 5168))
}

func rawHVM() -> RawStream { RawStream.libxc(2).with(0x10) }

func rawHVMBeforeEnd() -> RawStream {
  rawHVM().with(1, onePage(9)).with(8, tscBody).with(9, [1, 2, 3])
    .with(0x0A, little(UInt32(1)) + little(UInt32(0)) + little(UInt64(1)) + little(UInt64(0xFEFF)))
}

/// Everything the reader says about `bytes`.
func readAll(_ bytes: [UInt8], from layer: StreamLayer = .libxc) throws(StreamError) -> [StreamEvent] {
  var reader = StreamReader(MemorySource(bytes), startingAt: layer)
  var events: [StreamEvent] = []
  while let event = try reader.next() { events.append(event) }
  return events
}

/// A complete xl file of a small guest, written by `StreamWriter`.
func writeGuest<Sink: ByteSink & ~Copyable>(
  _ kind: DomainKind, to writer: inout StreamWriter<Sink>
) throws(StreamError) {
  try writer.writeXLHeader(configJSON: Array(#"{"c_info":{"type":"pv"}}"#.utf8))
  try writer.beginLibxl()
  try writer.beginLibxc(kind: kind, xenMajor: 4, xenMinor: 17)
  if kind == .pv { try writer.write(.pvInfo(width: 8, levels: 4)) }
  try writer.write(.cpuidPolicy([UInt8](repeating: 1, count: 48)))
  try writer.write(.msrPolicy([UInt8](repeating: 2, count: 16)))
  try writer.write(.staticDataEnd)
  if kind == .pv { try writer.write(.pvP2MFrames(start: 0, end: 5000, pfns: Array(100..<110))) }
  for batch in sampleBatches(kind) {
    try writer.writeSample(batch)
  }
  try writer.write(.tscInfo(TSCInfo(mode: 0, kilohertz: 2_400_000, nanoseconds: 1 << 40, incarnation: 2)))
  if kind == .pv {
    try writer.write(.sharedInfo(page(4711)))
    try writer.write(.pvVCPU(.basic, id: 0, blob: [UInt8](repeating: 4, count: 5168)))
    try writer.write(.pvVCPU(.extended, id: 0, blob: [UInt8](repeating: 5, count: 64)))
    try writer.write(.pvVCPU(.xsave, id: 0, blob: [UInt8](repeating: 6, count: 593)))
    try writer.write(.pvVCPU(.msrs, id: 0, blob: [UInt8](repeating: 7, count: 32)))
  } else {
    try writer.write(.hvmContext([UInt8](repeating: 8, count: 1001)))
    try writer.write(.hvmParams([HVMParam(index: 1, value: 0xFEFFC), HVMParam(index: 17, value: 0xFEFFF)]))
  }
  try writer.endLibxc()
  try writer.endLibxl()
}

extension StreamWriter where Sink: ~Copyable {
  /// `batch` with `page(pfn)` for every entry that carries data.
  mutating func writeSample(_ batch: [PageEntry]) throws(StreamError) {
    let bytes = batch.filter(\.type.carriesData).reduce(into: [UInt8]()) { $0 += page($1.pfn) }
    var failure: StreamError?
    bytes.withUnsafeBytes { buffer in
      do throws(StreamError) { try writePageData(batch, pages: buffer) } catch { failure = error }
    }
    if let failure { throw failure }
  }
}

/// Batches of all sizes that matter, with every type that the kind of domain knows.
func sampleBatches(_ kind: DomainKind) -> [[PageEntry]] {
  let types = PageType.allCases.filter { kind == .pv || !$0.isPageTable }
  let entries = (0..<UInt64(1500)).map { PageEntry(pfn: $0 * 3, type: types[Int($0) % types.count]) }
  return [
    [PageEntry(pfn: 4999, type: .normal)],
    Array(entries[0..<1024]),
    Array(entries[1024...]),
    [PageEntry(pfn: 4998, type: .invalid)],
  ]
}
