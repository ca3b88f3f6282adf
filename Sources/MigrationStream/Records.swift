/// Type of a record in the libxc v3 stream. Values: Xen's libxc migration stream specification.
public struct RecordType: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  public static let end = RecordType(rawValue: 0x00)
  public static let pageData = RecordType(rawValue: 0x01)
  public static let x86PVInfo = RecordType(rawValue: 0x02)
  public static let x86PVP2MFrames = RecordType(rawValue: 0x03)
  public static let x86PVVCPUBasic = RecordType(rawValue: 0x04)
  public static let x86PVVCPUExtended = RecordType(rawValue: 0x05)
  public static let x86PVVCPUXSave = RecordType(rawValue: 0x06)
  public static let sharedInfo = RecordType(rawValue: 0x07)
  public static let x86TSCInfo = RecordType(rawValue: 0x08)
  public static let hvmContext = RecordType(rawValue: 0x09)
  public static let hvmParams = RecordType(rawValue: 0x0A)
  public static let toolstack = RecordType(rawValue: 0x0B)
  public static let x86PVVCPUMSRs = RecordType(rawValue: 0x0C)
  public static let verify = RecordType(rawValue: 0x0D)
  public static let checkpoint = RecordType(rawValue: 0x0E)
  public static let checkpointDirtyPFNList = RecordType(rawValue: 0x0F)
  public static let staticDataEnd = RecordType(rawValue: 0x10)
  public static let x86CPUIDPolicy = RecordType(rawValue: 0x11)
  public static let x86MSRPolicy = RecordType(rawValue: 0x12)

  /// Bit 31: restore skips the record where it does not know the type.
  public var isOptional: Bool { rawValue & 0x8000_0000 != 0 }
}

extension RecordType: CustomStringConvertible {
  private static let names = [
    "END", "PAGE_DATA", "X86_PV_INFO", "X86_PV_P2M_FRAMES", "X86_PV_VCPU_BASIC", "X86_PV_VCPU_EXTENDED",
    "X86_PV_VCPU_XSAVE", "SHARED_INFO", "X86_TSC_INFO", "HVM_CONTEXT", "HVM_PARAMS", "TOOLSTACK",
    "X86_PV_VCPU_MSRS", "VERIFY", "CHECKPOINT", "CHECKPOINT_DIRTY_PFN_LIST", "STATIC_DATA_END",
    "X86_CPUID_POLICY", "X86_MSR_POLICY",
  ]

  public var description: String {
    rawValue < Self.names.count ? Self.names[Int(rawValue)] : "0x" + String(rawValue, radix: 16)
  }
}

/// One record of the libxc stream without its header and its padding. PAGE_DATA travels as `PageBatch` instead.
public struct Record: Equatable, Sendable {
  public var type: RecordType
  public var body: [UInt8]

  public init(type: RecordType, body: [UInt8]) {
    self.type = type
    self.body = body
  }

  /// libxc refuses longer bodies (`REC_LENGTH_MAX`), in bytes.
  public static let maximumBodyLength = 128 << 20
}

/// What the domain header says. PVH guests travel as `hvm`.
public enum DomainKind: UInt32, Sendable {
  case pv = 1
  case hvm = 2
}

/// The image and domain headers of a libxc stream.
public struct LibxcHeader: Equatable, Sendable {
  public var kind: DomainKind
  /// Release of the hypervisor that saved; 0 in `xenMajor` means converted from a legacy stream.
  public var xenMajor: UInt32
  public var xenMinor: UInt32

  public init(kind: DomainKind, xenMajor: UInt32, xenMinor: UInt32) {
    self.kind = kind
    self.xenMajor = xenMajor
    self.xenMinor = xenMinor
  }
}
