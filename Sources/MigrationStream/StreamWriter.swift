/// Writes what `xl restore` reads: xl header, libxl stream, libxc stream. Calls come in the order of the stream:
/// ```
/// writeXLHeader  beginLibxl  beginLibxc  write… writePageData… write…  endLibxc  [write emulator]  endLibxl
/// ```
/// Without `writeXLHeader` it is what libxl takes from a descriptor; without the libxl layer too, what libxc takes.
/// Every call checks first and throws `StreamError.refused` for anything that a plain restore would refuse, so that a
/// mistake is found before the old guest is gone. After an error of the sink the stream is lost; start a new one.
public struct StreamWriter<Sink: ByteSink & ~Copyable>: ~Copyable {
  public private(set) var sink: Sink
  private var place = Place.start
  private var order = RecordOrder(kind: .pv)
  private var kind = DomainKind.pv
  /// Header and entries of the PAGE_DATA record at hand, kept for its capacity.
  private var scratch: [UInt8] = []

  private enum Place {
    case start, afterXLHeader, inLibxl, inLibxc, afterLibxc, inBareLibxc, ended
  }

  public init(_ sink: consuming Sink) { self.sink = sink }

  /// - Parameter configJSON: the guest's `libxl_domain_config` as JSON, without a trailing NUL (`XLConfig.encoded()`).
  public mutating func writeXLHeader(configJSON: [UInt8]) throws(StreamError) {
    guard place == .start else { throw .refused(.outOfPlace("the xl header")) }
    guard !configJSON.isEmpty, !configJSON.contains(0), configJSON.count < XLHeader.maximumConfigLength else {
      throw .refused(.xlConfigLength(UInt32(clamping: configJSON.count)))
    }
    var header = XLHeader.magic
    header.append(little: XLHeader.byteOrder)
    header.append(little: XLHeader.flags)
    header.append(little: UInt32(0))
    header.append(little: UInt32(4 + configJSON.count + 1))
    header.append(little: UInt32(configJSON.count + 1))
    try put(header + configJSON + [0])
    place = .afterXLHeader
  }

  public mutating func beginLibxl() throws(StreamError) {
    guard place == .start || place == .afterXLHeader else { throw .refused(.outOfPlace("the libxl header")) }
    var header: [UInt8] = []
    header.append(big: LibxlLayer.ident)
    header.append(big: LibxlLayer.version)
    header.append(big: UInt32(0))
    try put(header)
    place = .inLibxl
  }

  /// Image and domain header; inside a libxl stream its LIBXC_CONTEXT record as well.
  /// - Parameters xenMajor, xenMinor: the release whose guest state this is.
  public mutating func beginLibxc(kind: DomainKind, xenMajor: UInt32, xenMinor: UInt32) throws(StreamError) {
    var header: [UInt8] = []
    switch place {
    case .inLibxl: header = Self.recordHeader(LibxlLayer.libxcContext, length: 0)
    case .start: break
    default: throw .refused(.outOfPlace("the libxc header"))
    }
    header.append(big: LibxcLayer.marker)
    header.append(big: LibxcLayer.ident)
    header.append(big: LibxcLayer.version)
    header.append(big: UInt64(0))  // options, reserved
    header.append(little: kind.rawValue)
    header.append(little: LibxcLayer.pageShift)
    header.append(little: UInt16(0))
    header.append(little: xenMajor)
    header.append(little: xenMinor)
    try put(header)
    place = place == .start ? .inBareLibxc : .inLibxc
    self.kind = kind
    order = RecordOrder(kind: kind)
  }

  /// Hands on what the sink holds back, for a reader that can begin with what it has while the writer makes the rest.
  public mutating func flush() throws(StreamError) { try sink.flush() }

  /// Any libxc record but PAGE_DATA and END.
  public mutating func write(_ record: Record) throws(StreamError) {
    try requireLibxc("a libxc record")
    guard record.body.count <= Record.maximumBodyLength else {
      throw .refused(.bodyTooLong(type: record.type.rawValue, length: record.body.count))
    }
    try refusing { () throws(StreamFault) in try order.admit(record) }
    try putRecord(record.type.rawValue, record.body)
  }

  public mutating func write(_ body: RecordBody) throws(StreamError) { try write(Record(body)) }

  /// One PAGE_DATA record of 1 to 1024 entries.
  /// - Parameter pages: 4096 bytes for each entry whose type carries data, in the order of the entries. They go from
  ///   this memory to the sink as they are.
  public mutating func writePageData(_ entries: [PageEntry], pages: UnsafeRawBufferPointer)
    throws(StreamError)
  {
    try requireLibxc("PAGE_DATA")
    guard entries.count <= PageBatch.maximumEntries else { throw .refused(.pageCount(UInt64(entries.count))) }
    let expected = entries.count { $0.type.carriesData } * pageSize
    guard pages.count == expected else { throw .refused(.pageBytes(expected: expected, got: pages.count)) }
    try refusing { () throws(StreamFault) in try order.admit(pages: entries) }

    scratch.removeAll(keepingCapacity: true)
    scratch.append(little: RecordType.pageData.rawValue)
    scratch.append(little: UInt32(8 + entries.count * 8 + expected))
    scratch.append(little: UInt32(entries.count))
    scratch.append(little: UInt32(0))
    for entry in entries { scratch.append(little: entry.rawValue) }
    try put(scratch)
    if expected > 0 { try sink.write(pages) }
  }

  /// END of the libxc stream; checks that everything a guest needs was written.
  public mutating func endLibxc() throws(StreamError) {
    try requireLibxc("END")
    try refusing { () throws(StreamFault) in try order.admitEnd() }
    try putRecord(RecordType.end.rawValue, [])
    if place == .inLibxc {
      place = .afterLibxc
    } else {
      place = .ended
      try sink.flush()
    }
  }

  /// State of the device model of an HVM guest, between `endLibxc` and `endLibxl`.
  public mutating func write(_ emulator: EmulatorRecord) throws(StreamError) {
    guard place == .afterLibxc else { throw .refused(.outOfPlace("emulator state")) }
    guard kind == .hvm else { throw .refused(.outOfPlace("emulator state of a PV guest")) }
    var body: [UInt8] = []
    try refusing { () throws(StreamFault) in body = try emulator.encoded() }
    guard body.count <= Record.maximumBodyLength else {
      throw .refused(.bodyTooLong(type: emulator.type, length: body.count))
    }
    try putRecord(emulator.type, body)
  }

  /// END of the libxl stream; flushes the sink.
  public mutating func endLibxl() throws(StreamError) {
    guard place == .afterLibxc else { throw .refused(.outOfPlace("END of the libxl stream")) }
    try putRecord(LibxlLayer.end, [])
    place = .ended
    try sink.flush()
  }

  private func requireLibxc(_ what: String) throws(StreamError) {
    guard place == .inLibxc || place == .inBareLibxc else { throw .refused(.outOfPlace(what)) }
  }

  private static func recordHeader(_ type: UInt32, length: Int) -> [UInt8] {
    var header: [UInt8] = []
    header.append(little: type)
    header.append(little: UInt32(length))
    return header
  }

  private mutating func putRecord(_ type: UInt32, _ body: [UInt8]) throws(StreamError) {
    try put(Self.recordHeader(type, length: body.count))
    try put(body)
    try put([UInt8](repeating: 0, count: paddingLength(body.count)))
  }

  private mutating func put(_ bytes: [UInt8]) throws(StreamError) {
    let span = bytes.span.bytes
    let result: Result<Void, StreamError> = span.withUnsafeBytes { buffer in
      do throws(StreamError) { return .success(try sink.write(buffer)) } catch { return .failure(error) }
    }
    try result.get()
  }
}

private func refusing(_ check: () throws(StreamFault) -> Void) throws(StreamError) {
  do throws(StreamFault) { try check() } catch { throw .refused(error) }
}
