/// What a stream says next.
public enum StreamEvent: Sendable {
  /// The guest's config as JSON, without the trailing NUL.
  case xlHeader(configJSON: [UInt8])
  case libxlHeader
  case libxcHeader(LibxcHeader)
  /// Any libxc record but PAGE_DATA and END; `RecordBody(record)` parses it and succeeds, for the reader checked it.
  case record(Record)
  case pageData(PageBatch)
  case libxcEnd
  case emulator(EmulatorRecord)
  /// END of the libxl stream. What follows in the source is not read.
  case libxlEnd
}

/// The layer a stream starts with.
public enum StreamLayer: Sendable {
  case xl
  case libxl
  case libxc
}

/// Reads what `xl save` and `StreamWriter` write, and trusts none of it: every length is checked before memory is taken
/// for it, every field against its bounds, every record against the order that plain restore demands. Streams that libxc
/// would let pass but no saver writes (missing clock, memory after CPU state) are refused too.
public struct StreamReader<Source: ByteSource & ~Copyable>: ~Copyable {
  private var source: Source
  /// Bytes read so far: where the next header begins.
  public private(set) var offset: UInt64 = 0
  private var place: Place
  private let bare: Bool
  private var order = RecordOrder(kind: .pv)
  private var kind = DomainKind.pv

  private enum Place {
    case xlHeader, libxlHeader, libxlContext, libxcHeader, libxc, libxlTail, ended
  }

  /// Memory taken on the word of a length alone, in bytes; beyond it memory grows as bytes arrive. Holds a full PAGE_DATA.
  private static var trusted: Int { 8 << 20 }

  public init(_ source: consuming Source, startingAt layer: StreamLayer = .xl) {
    self.source = source
    bare = layer == .libxc
    place =
      switch layer {
      case .xl: .xlHeader
      case .libxl: .libxlHeader
      case .libxc: .libxcHeader
      }
  }

  /// The next event, nil after the last END.
  /// - Throws: `StreamError`; the reader is of no use afterwards.
  public mutating func next() throws(StreamError) -> StreamEvent? {
    while true {
      switch place {
      case .xlHeader: return try readXLHeader()
      case .libxlHeader: return try readLibxlHeader()
      case .libxlContext: try readContextRecord()
      case .libxcHeader: return try readLibxcHeader()
      case .libxc: if let event = try readLibxcRecord() { return event }
      case .libxlTail: return try readLibxlTail()
      case .ended: return nil
      }
    }
  }

  // MARK: Headers

  private mutating func readXLHeader() throws(StreamError) -> StreamEvent {
    let begin = offset
    let header = try take(XLHeader.length)
    guard header.starts(with: XLHeader.magic) else { throw .malformed(.xlMagic, offset: begin) }
    let byteOrder = header.little(UInt32.self, at: 32)
    guard byteOrder == XLHeader.byteOrder else { throw .malformed(.xlByteOrder(byteOrder), offset: begin) }
    let flags = header.little(UInt32.self, at: 36)
    guard flags == XLHeader.flags else { throw .malformed(.xlFlags(flags), offset: begin) }
    // Word 40 holds flags that a reader may ignore, and xl does.
    let dataLength = header.little(UInt32.self, at: 44)
    let length = header.little(UInt32.self, at: 48)
    guard length >= 2, length <= XLHeader.maximumConfigLength, dataLength == length + 4 else {
      throw .malformed(.xlConfigLength(length), offset: begin)
    }
    let config = try take(Int(length))
    guard config.firstIndex(of: 0) == config.count - 1 else {
      throw .malformed(.xlConfigLength(length), offset: begin)
    }
    place = .libxlHeader
    return .xlHeader(configJSON: config.dropLast())
  }

  private mutating func readLibxlHeader() throws(StreamError) -> StreamEvent {
    let begin = offset
    let header = try take(LibxlLayer.headerLength)
    let ident = header.big(UInt64.self, at: 0)
    guard ident == LibxlLayer.ident else { throw .malformed(.libxlIdent(ident), offset: begin) }
    let version = header.big(UInt32.self, at: 8)
    guard version == LibxlLayer.version else { throw .malformed(.version(version), offset: begin) }
    let options = header.big(UInt32.self, at: 12)
    guard options & ~LibxlLayer.legacyOption == 0 else { throw .malformed(.options(options), offset: begin) }
    place = .libxlContext
    return .libxlHeader
  }

  private mutating func readContextRecord() throws(StreamError) {
    let begin = offset
    let (type, body) = try takeRecord()
    guard type == LibxlLayer.libxcContext else {
      throw .malformed(.outOfPlace("libxl record \(type)"), offset: begin)
    }
    guard body.isEmpty else { throw .malformed(.bodyLength(type: type, length: body.count), offset: begin) }
    place = .libxcHeader
  }

  private mutating func readLibxcHeader() throws(StreamError) -> StreamEvent {
    let begin = offset
    let image = try take(LibxcLayer.imageHeaderLength)
    let marker = image.big(UInt64.self, at: 0)
    guard marker == LibxcLayer.marker else { throw .malformed(.libxcMarker(marker), offset: begin) }
    let ident = image.big(UInt32.self, at: 8)
    guard ident == LibxcLayer.ident else { throw .malformed(.libxcIdent(ident), offset: begin) }
    let version = image.big(UInt32.self, at: 12)
    guard version == LibxcLayer.version else { throw .malformed(.version(version), offset: begin) }
    let options = image.big(UInt16.self, at: 16)
    guard options == 0 else { throw .malformed(.options(UInt32(options)), offset: begin) }
    let imageReserved = image.big(UInt64.self, at: 16)
    guard imageReserved == 0 else { throw .malformed(.reserved(imageReserved), offset: begin) }

    let domainBegin = offset
    let domain = try take(LibxcLayer.domainHeaderLength)
    let type = domain.little(UInt32.self, at: 0)
    guard let kind = DomainKind(rawValue: type) else {
      throw .malformed(.domainType(type), offset: domainBegin)
    }
    let shift = domain.little(UInt16.self, at: 4)
    guard shift == LibxcLayer.pageShift else { throw .malformed(.pageShift(shift), offset: domainBegin) }
    let reserved = domain.little(UInt16.self, at: 6)
    guard reserved == 0 else { throw .malformed(.reserved(UInt64(reserved)), offset: domainBegin) }
    self.kind = kind
    order = RecordOrder(kind: kind)
    place = .libxc
    return .libxcHeader(
      LibxcHeader(
        kind: kind, xenMajor: domain.little(UInt32.self, at: 8), xenMinor: domain.little(UInt32.self, at: 12))
    )
  }

  // MARK: Records

  /// Nil for an optional record of an unknown type, which restore skips as well.
  private mutating func readLibxcRecord() throws(StreamError) -> StreamEvent? {
    let begin = offset
    let (type, length) = try takeRecordHeader()
    if type == RecordType.pageData.rawValue { return .pageData(try readPageData(length, begin)) }
    let body = try takeBody(type, length, begin)
    if type == RecordType.end.rawValue {
      guard length == 0 else { throw .malformed(.bodyLength(type: type, length: length), offset: begin) }
      try malformed(at: begin) { () throws(StreamFault) in try order.admitEnd() }
      place = bare ? .ended : .libxlTail
      return .libxcEnd
    }
    if RecordType(rawValue: type).isOptional { return nil }
    let record = Record(type: RecordType(rawValue: type), body: body)
    try malformed(at: begin) { () throws(StreamFault) in try order.admit(record) }
    return .record(record)
  }

  private mutating func readPageData(_ length: Int, _ begin: UInt64) throws(StreamError) -> PageBatch {
    let fault = StreamFault.bodyLength(type: RecordType.pageData.rawValue, length: length)
    guard length >= 8 else { throw .malformed(fault, offset: begin) }
    let head = try take(8)
    let count = Int(head.little(UInt32.self, at: 0))
    let reserved = head.little(UInt32.self, at: 4)
    guard reserved == 0 else { throw .malformed(.reserved(UInt64(reserved)), offset: begin) }
    guard count >= 1 else { throw .malformed(.pageCount(0), offset: begin) }
    guard count <= (length - 8) / 8 else { throw .malformed(fault, offset: begin) }

    let words = try take(count * 8)
    var entries: [PageEntry] = []
    entries.reserveCapacity(count)
    try malformed(at: begin) { () throws(StreamFault) in
      for index in 0..<count {
        entries.append(try PageEntry(rawValue: words.little(UInt64.self, at: index * 8)))
      }
      try order.admit(pages: entries)
    }
    let pageBytes = entries.count { $0.type.carriesData } * pageSize
    guard length == 8 + count * 8 + pageBytes else { throw .malformed(fault, offset: begin) }
    return PageBatch(entries: entries, pages: try take(pageBytes))
  }

  private mutating func readLibxlTail() throws(StreamError) -> StreamEvent {
    let begin = offset
    let (type, body) = try takeRecord()
    switch type {
    case LibxlLayer.end:
      guard body.isEmpty else { throw .malformed(.bodyLength(type: type, length: body.count), offset: begin) }
      place = .ended
      return .libxlEnd
    case LibxlLayer.emulatorXenstoreData, LibxlLayer.emulatorContext:
      guard kind == .hvm else {
        throw .malformed(.outOfPlace("emulator state of a PV guest"), offset: begin)
      }
      do throws(StreamFault) {
        return .emulator(try EmulatorRecord(type: type, body: body))
      } catch {
        throw .malformed(error, offset: begin)
      }
    default:
      // Also with bit 31 set: libxl knows no optional records.
      throw .malformed(.outOfPlace("libxl record \(type)"), offset: begin)
    }
  }

  // MARK: Bytes

  private mutating func takeRecord() throws(StreamError) -> (type: UInt32, body: [UInt8]) {
    let begin = offset
    let (type, length) = try takeRecordHeader()
    return (type, try takeBody(type, length, begin))
  }

  private mutating func takeRecordHeader() throws(StreamError) -> (type: UInt32, length: Int) {
    let begin = offset
    let header = try take(8)
    let type = header.little(UInt32.self, at: 0)
    let length = Int(header.little(UInt32.self, at: 4))
    guard length <= Record.maximumBodyLength else {
      throw .malformed(.bodyTooLong(type: type, length: length), offset: begin)
    }
    return (type, length)
  }

  private mutating func takeBody(_ type: UInt32, _ length: Int, _ begin: UInt64) throws(StreamError)
    -> [UInt8]
  {
    let body = try take(length)
    guard try take(paddingLength(length)).allSatisfy({ $0 == 0 }) else {
      throw .malformed(.padding(type: type), offset: begin)
    }
    return body
  }

  private mutating func take(_ count: Int) throws(StreamError) -> [UInt8] {
    var bytes: [UInt8] = []
    while bytes.count < count {
      let part = try takePart(min(count - bytes.count, Self.trusted))
      if bytes.isEmpty { bytes = part } else { bytes += part }
    }
    return bytes
  }

  private mutating func takePart(_ count: Int) throws(StreamError) -> [UInt8] {
    var failure: StreamError?
    let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, got in
      do throws(StreamError) {
        got = try source.read(
          into: UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(buffer)[..<count]))
      } catch {
        failure = error
      }
    }
    if let failure { throw failure }
    guard bytes.count == count else { throw .truncated(offset: offset, wanted: count, got: bytes.count) }
    offset += UInt64(count)
    return bytes
  }
}

private func malformed(at offset: UInt64, _ check: () throws(StreamFault) -> Void) throws(StreamError) {
  do throws(StreamFault) { try check() } catch { throw .malformed(error, offset: offset) }
}
