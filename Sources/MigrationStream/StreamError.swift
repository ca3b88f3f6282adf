/// Why a stream cannot be read or written. One line each: what, where, what to do.
public enum StreamError: Error, Equatable {
  /// The source ended `wanted - got` bytes too early; `offset` is where the unfinished read began.
  case truncated(offset: UInt64, wanted: Int, got: Int)
  /// A byte sequence that plain restore refuses, or that no saver writes; `offset` is where the record or header begins.
  case malformed(StreamFault, offset: UInt64)
  /// The writer was asked for something that plain restore would refuse. Nothing of it was written.
  case refused(StreamFault)
  /// `read(2)` failed with this errno.
  case readFailed(errno: Int32)
  /// `write(2)` failed with this errno, 0 where the kernel took no byte and gave no reason.
  case writeFailed(errno: Int32)
  /// EPIPE: the process at the other end of the pipe (`xl restore`) is gone. Its own message says why.
  case receiverGone
}

/// The rule a stream broke. The reader and the writer apply the same rules, so they name the same faults.
public enum StreamFault: Error, Equatable {
  case xlMagic
  case xlByteOrder(UInt32)
  case xlFlags(UInt32)
  case xlConfigLength(UInt32)
  case libxlIdent(UInt64)
  case libxcMarker(UInt64)
  case libxcIdent(UInt32)
  case version(UInt32)
  case options(UInt32)
  case reserved(UInt64)
  case domainType(UInt32)
  case pageShift(UInt16)
  /// More than the 128 MiB that libxc takes in one record.
  case bodyTooLong(type: UInt32, length: Int)
  case padding(type: UInt32)
  /// The body's length does not follow from its own counts, or is not the fixed one.
  case bodyLength(type: UInt32, length: Int)
  /// A type that plain restore does not know and that is not marked optional, or one it takes only in checkpointed streams.
  case unknownRecord(UInt32)
  /// The record does not belong into a stream of this kind of domain.
  case wrongDomainKind(RecordType)
  /// `record` stands before one that restore needs first.
  case missingBefore(record: RecordType, needs: RecordType)
  /// `record` stands after one that must be behind it.
  case tooLate(record: RecordType, after: RecordType)
  case repeated(RecordType)
  /// END, but without this record restore fails or rebuilds a different guest.
  case missingAtEnd(RecordType)
  case pageCount(UInt64)
  case pageType(UInt8)
  case pfnRange(UInt64)
  /// The pages handed over are not 4096 bytes for every entry that carries data.
  case pageBytes(expected: Int, got: Int)
  case pvInfo(width: UInt8, levels: UInt8)
  case p2mRange(start: UInt32, end: UInt32)
  case vcpuRange(UInt32)
  case emulator(UInt32)
  case emulatorText
  /// A call of the writer or a record of the libxl layer at a place where it cannot be.
  case outOfPlace(String)
}

extension StreamError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .truncated(let offset, let wanted, let got):
      "migration stream ends at byte \(offset + UInt64(got)): \(wanted) bytes wanted, \(got) there; the file is incomplete"
    case .malformed(let fault, let offset):
      "migration stream is damaged or foreign at byte \(offset): \(fault)"
    case .refused(let fault):
      "not written, restore would refuse it: \(fault)"
    case .readFailed(let errno):
      "reading the migration stream failed (errno \(errno))"
    case .writeFailed(let errno):
      "writing the migration stream failed (errno \(errno))"
    case .receiverGone:
      "the receiver of the migration stream closed its end; see what it said"
    }
  }
}

extension StreamFault: CustomStringConvertible {
  public var description: String {
    switch self {
    case .xlMagic: "no xl file header"
    case .xlByteOrder(let value): "xl header of another byte order (0x\(hex(value)))"
    case .xlFlags(let value): "xl header flags 0x\(hex(value)) are not JSON + stream v2"
    case .xlConfigLength(let value): "xl header config length \(value) does not fit"
    case .libxlIdent(let value): "no libxl stream header (0x\(hex(value)))"
    case .libxcMarker(let value): "no libxc image marker (0x\(hex(value)))"
    case .libxcIdent(let value): "no libxc image id (0x\(hex(value)))"
    case .version(let value): "stream version \(value) is not supported"
    case .options(let value): "stream options 0x\(hex(value)) are not supported"
    case .reserved(let value): "reserved field is not zero (0x\(hex(value)))"
    case .domainType(let value): "domain type \(value) is neither PV nor HVM"
    case .pageShift(let value): "page shift \(value) is not 12"
    case .bodyTooLong(let type, let length): "record \(name(type)) of \(length) bytes is over 128 MiB"
    case .padding(let type): "padding of record \(name(type)) is not zero"
    case .bodyLength(let type, let length): "record \(name(type)) cannot be \(length) bytes long"
    case .unknownRecord(let type): "record \(name(type)) is not taken by a plain restore"
    case .wrongDomainKind(let record): "record \(record) does not belong to this kind of domain"
    case .missingBefore(let record, let needs): "record \(record) before \(needs)"
    case .tooLate(let record, let after): "record \(record) after \(after)"
    case .repeated(let record): "record \(record) a second time"
    case .missingAtEnd(let record): "stream ends without \(record)"
    case .pageCount(let count): "PAGE_DATA with \(count) entries"
    case .pageType(let type): "page type 0x\(hex(type)) does not exist here"
    case .pfnRange(let pfn): "pfn 0x\(hex(pfn)) is outside the guest"
    case .pageBytes(let expected, let got): "\(got) bytes of pages where the entries need \(expected)"
    case .pvInfo(let width, let levels): "PV width \(width) with \(levels) page-table levels"
    case .p2mRange(let start, let end): "p2m range \(start)...\(end) is not usable"
    case .vcpuRange(let id): "vCPU \(id) cannot exist"
    case .emulator(let id): "emulator \(id) is not upstream QEMU"
    case .emulatorText: "emulator store data is not pairs of NUL-terminated strings"
    case .outOfPlace(let what): "\(what) is out of place here"
    }
  }

  private func hex(_ value: some FixedWidthInteger) -> String { String(value, radix: 16) }
  private func name(_ type: UInt32) -> String { RecordType(rawValue: type).description }
}
