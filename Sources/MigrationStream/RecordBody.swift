/// Which part of a PV vCPU's state a record holds.
public enum VCPUState: Sendable {
  case basic
  case extended
  case xsave
  case msrs

  var recordType: RecordType {
    switch self {
    case .basic: .x86PVVCPUBasic
    case .extended: .x86PVVCPUExtended
    case .xsave: .x86PVVCPUXSave
    case .msrs: .x86PVVCPUMSRs
    }
  }
}

/// The guest's time stamp counter, as `xc_domain_get_tsc_info` gives it.
public struct TSCInfo: Equatable, Sendable {
  public var mode: UInt32
  public var kilohertz: UInt32
  public var nanoseconds: UInt64
  public var incarnation: UInt32

  public init(mode: UInt32, kilohertz: UInt32, nanoseconds: UInt64, incarnation: UInt32) {
    self.mode = mode
    self.kilohertz = kilohertz
    self.nanoseconds = nanoseconds
    self.incarnation = incarnation
  }
}

/// One `HVM_PARAM_*` (public/hvm/params.h).
public struct HVMParam: Equatable, Sendable {
  public var index: UInt64
  public var value: UInt64

  public init(index: UInt64, value: UInt64) {
    self.index = index
    self.value = value
  }
}

/// What a libxc record says. PAGE_DATA and END have calls of their own.
public enum RecordBody: Equatable, Sendable {
  /// Bytes of a guest word and page-table levels: 8/4 or 4/3.
  case pvInfo(width: UInt8, levels: UInt8)
  /// The pfn of every page of the guest's p2m that covers pfns `start` to `end`, both included.
  case pvP2MFrames(start: UInt32, end: UInt32, pfns: [UInt64])
  case pvVCPU(VCPUState, id: UInt32, blob: [UInt8])
  /// The whole page, 4096 bytes.
  case sharedInfo([UInt8])
  case tscInfo(TSCInfo)
  case hvmContext([UInt8])
  case hvmParams([HVMParam])
  case staticDataEnd
  /// Array of 24-byte `xen_cpuid_leaf_t`.
  case cpuidPolicy([UInt8])
  /// Array of 16-byte `xen_msr_entry_t`.
  case msrPolicy([UInt8])
}

extension Record {
  public init(_ content: RecordBody) {
    var bytes: [UInt8] = []
    switch content {
    case .pvInfo(let width, let levels):
      self.init(type: .x86PVInfo, body: [width, levels, 0, 0, 0, 0, 0, 0])
    case .pvP2MFrames(let start, let end, let pfns):
      bytes.reserveCapacity(8 + pfns.count * 8)
      bytes.append(little: start)
      bytes.append(little: end)
      for pfn in pfns { bytes.append(little: pfn) }
      self.init(type: .x86PVP2MFrames, body: bytes)
    case .pvVCPU(let state, let id, let blob):
      bytes.append(little: id)
      bytes.append(little: UInt32(0))
      self.init(type: state.recordType, body: bytes + blob)
    case .sharedInfo(let page):
      self.init(type: .sharedInfo, body: page)
    case .tscInfo(let tsc):
      bytes.append(little: tsc.mode)
      bytes.append(little: tsc.kilohertz)
      bytes.append(little: tsc.nanoseconds)
      bytes.append(little: tsc.incarnation)
      bytes.append(little: UInt32(0))
      self.init(type: .x86TSCInfo, body: bytes)
    case .hvmContext(let blob):
      self.init(type: .hvmContext, body: blob)
    case .hvmParams(let params):
      bytes.append(little: UInt32(clamping: params.count))
      bytes.append(little: UInt32(0))
      for param in params {
        bytes.append(little: param.index)
        bytes.append(little: param.value)
      }
      self.init(type: .hvmParams, body: bytes)
    case .staticDataEnd:
      self.init(type: .staticDataEnd, body: [])
    case .cpuidPolicy(let leaves):
      self.init(type: .x86CPUIDPolicy, body: leaves)
    case .msrPolicy(let entries):
      self.init(type: .x86MSRPolicy, body: entries)
    }
  }
}

extension RecordBody {
  /// Parses a record and checks everything that its own bytes can tell: lengths, counts, reserved fields.
  /// - Throws: `StreamFault` for a body that restore refuses or that no saver writes.
  public init(_ record: Record) throws(StreamFault) {
    let body = record.body
    switch record.type {
    case .x86PVInfo: self = try Self.parsePVInfo(record)
    case .x86PVP2MFrames: self = try Self.parseP2MFrames(record)
    case .x86PVVCPUBasic: self = try Self.parseVCPU(.basic, record)
    case .x86PVVCPUExtended: self = try Self.parseVCPU(.extended, record)
    case .x86PVVCPUXSave: self = try Self.parseVCPU(.xsave, record)
    case .x86PVVCPUMSRs: self = try Self.parseVCPU(.msrs, record)
    case .x86TSCInfo: self = try Self.parseTSC(record)
    case .hvmParams: self = try Self.parseParams(record)
    case .sharedInfo:
      try record.require(body.count == pageSize)
      self = .sharedInfo(body)
    case .hvmContext:
      try record.require(!body.isEmpty)
      self = .hvmContext(body)
    case .staticDataEnd:
      try record.require(body.isEmpty)
      self = .staticDataEnd
    case .x86CPUIDPolicy:
      try record.require(!body.isEmpty && body.count % 24 == 0)
      self = .cpuidPolicy(body)
    case .x86MSRPolicy:
      try record.require(!body.isEmpty && body.count % 16 == 0)
      self = .msrPolicy(body)
    default: throw .unknownRecord(record.type.rawValue)
    }
  }

  private static func parsePVInfo(_ record: Record) throws(StreamFault) -> RecordBody {
    try record.require(record.body.count == 8)
    let word = record.body.little(UInt64.self, at: 0)
    guard word >> 16 == 0 else { throw .reserved(word) }
    let (width, levels) = (record.body[0], record.body[1])
    guard (width, levels) == (8, 4) || (width, levels) == (4, 3) else {
      throw .pvInfo(width: width, levels: levels)
    }
    return .pvInfo(width: width, levels: levels)
  }

  private static func parseP2MFrames(_ record: Record) throws(StreamFault) -> RecordBody {
    let body = record.body
    try record.require(body.count >= 16 && body.count % 8 == 0)
    let start = body.little(UInt32.self, at: 0)
    let end = body.little(UInt32.self, at: 4)
    guard start <= end else { throw .p2mRange(start: start, end: end) }
    let pfns = stride(from: 8, to: body.count, by: 8).map { body.little(UInt64.self, at: $0) }
    return .pvP2MFrames(start: start, end: end, pfns: pfns)
  }

  private static func parseVCPU(_ state: VCPUState, _ record: Record) throws(StreamFault) -> RecordBody {
    let body = record.body
    try record.require(body.count >= 8)
    let id = body.little(UInt32.self, at: 0)
    let reserved = body.little(UInt32.self, at: 4)
    guard reserved == 0 else { throw .reserved(UInt64(reserved)) }
    let blob = Array(body[8...])
    // The bounds that libxc's reader sets. That of `basic` depends on the guest's width: `RecordOrder` knows it.
    switch state {
    case .basic: try record.require(!blob.isEmpty)
    case .extended: try record.require(!blob.isEmpty && blob.count <= 128)
    case .xsave: try record.require(blob.count >= 16)
    case .msrs: try record.require(!blob.isEmpty && blob.count % 16 == 0)
    }
    return .pvVCPU(state, id: id, blob: blob)
  }

  private static func parseTSC(_ record: Record) throws(StreamFault) -> RecordBody {
    let body = record.body
    try record.require(body.count == 24)
    let reserved = body.little(UInt32.self, at: 20)
    guard reserved == 0 else { throw .reserved(UInt64(reserved)) }
    return .tscInfo(
      TSCInfo(
        mode: body.little(UInt32.self, at: 0), kilohertz: body.little(UInt32.self, at: 4),
        nanoseconds: body.little(UInt64.self, at: 8), incarnation: body.little(UInt32.self, at: 16)))
  }

  private static func parseParams(_ record: Record) throws(StreamFault) -> RecordBody {
    let body = record.body
    try record.require(body.count >= 8)
    let count = body.little(UInt32.self, at: 0)
    let reserved = body.little(UInt32.self, at: 4)
    guard reserved == 0 else { throw .reserved(UInt64(reserved)) }
    try record.require(UInt64(body.count) == 8 + UInt64(count) * 16)
    return .hvmParams(
      stride(from: 8, to: body.count, by: 16).map {
        HVMParam(index: body.little(UInt64.self, at: $0), value: body.little(UInt64.self, at: $0 + 8))
      })
  }
}

extension Record {
  fileprivate func require(_ condition: Bool) throws(StreamFault) {
    guard condition else { throw .bodyLength(type: type.rawValue, length: body.count) }
  }
}
