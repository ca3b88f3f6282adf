/// The rules of one libxc stream from its domain header to END, as libxc's plain restore applies them, and a few that it
/// only finds out when the guest is already half built. The writer asks before it writes, the reader after it read.
struct RecordOrder {
  private let kind: DomainKind
  private var seen: Set<RecordType> = []
  private var vcpuRecords: Set<VCPURecord> = []
  /// Bytes of a PV guest's word, 0 until X86_PV_INFO.
  private var width = 0
  /// Highest pfn of a PV guest that its p2m covers, nil until X86_PV_P2M_FRAMES.
  private var lastPFN: UInt64?

  private struct VCPURecord: Hashable {
    let type: RecordType
    let id: UInt32
  }

  /// x86 has 52 address bits at most, so no guest has a pfn above this. Restore sizes a bitmap by the highest pfn it sees.
  private static let highestPFN: UInt64 = (1 << 40) - 1
  /// Xen's `MAX_VIRT_CPUS` for PV guests; restore tightens it to the new domain's own number.
  private static let maximumVCPUs: UInt32 = 8192

  private static let pvOnly: Set<RecordType> = [
    .x86PVInfo, .x86PVP2MFrames, .sharedInfo,
    .x86PVVCPUBasic, .x86PVVCPUExtended, .x86PVVCPUXSave, .x86PVVCPUMSRs,
  ]
  private static let hvmOnly: Set<RecordType> = [.hvmContext, .hvmParams]
  private static let staticData: Set<RecordType> = [.x86PVInfo, .x86CPUIDPolicy, .x86MSRPolicy]
  private static let repeatable: Set<RecordType> = [
    .x86PVP2MFrames, .pageData, .x86PVVCPUBasic, .x86PVVCPUExtended, .x86PVVCPUXSave, .x86PVVCPUMSRs,
  ]
  /// What follows memory. HVM_PARAMS clears pages of the guest at once, so none of their data may come later. X86_TSC_INFO has no place of
  /// its own: Xen before 4.6 wrote it before memory, and its converter leaves it there.
  private static let tail: Set<RecordType> = [
    .sharedInfo, .x86PVVCPUBasic, .x86PVVCPUExtended, .x86PVVCPUXSave, .x86PVVCPUMSRs,
    .hvmContext, .hvmParams,
  ]

  init(kind: DomainKind) { self.kind = kind }

  /// Takes any record but PAGE_DATA and END.
  mutating func admit(_ record: Record) throws(StreamFault) {
    let body = try RecordBody(record)
    try checkPlace(record.type)
    switch body {
    case .pvInfo(let width, _): self.width = Int(width)
    case .pvP2MFrames(let start, let end, let pfns): try admitP2M(record, start, end, pfns)
    case .pvVCPU(let state, let id, let blob): try admitVCPU(record, state, id, blob)
    default: break
    }
    seen.insert(record.type)
  }

  /// Takes the entries of one PAGE_DATA record.
  mutating func admit(pages entries: [PageEntry]) throws(StreamFault) {
    try checkPlace(.pageData)
    guard !entries.isEmpty else { throw .pageCount(0) }
    let limit = lastPFN ?? Self.highestPFN
    for entry in entries {
      guard entry.pfn <= limit else { throw .pfnRange(entry.pfn) }
      if kind == .hvm, entry.type.isPageTable { throw .pageType(entry.type.rawValue) }
    }
    seen.insert(.pageData)
  }

  /// Takes END.
  func admitEnd() throws(StreamFault) {
    let required: [RecordType] =
      switch kind {
      case .pv: [.x86PVInfo, .staticDataEnd, .x86PVP2MFrames, .pageData, .x86TSCInfo, .sharedInfo]
      case .hvm: [.staticDataEnd, .pageData, .x86TSCInfo, .hvmContext, .hvmParams]
      }
    for type in required where !seen.contains(type) { throw .missingAtEnd(type) }
    // Restore starts the guest on vCPU 0; others without state stay offline.
    if kind == .pv, !vcpuRecords.contains(VCPURecord(type: .x86PVVCPUBasic, id: 0)) {
      throw .missingAtEnd(.x86PVVCPUBasic)
    }
  }

  private func checkPlace(_ type: RecordType) throws(StreamFault) {
    if (kind == .pv ? Self.hvmOnly : Self.pvOnly).contains(type) { throw .wrongDomainKind(type) }
    if !Self.repeatable.contains(type), seen.contains(type) { throw .repeated(type) }
    if Self.staticData.contains(type) {
      if seen.contains(.staticDataEnd) { throw .tooLate(record: type, after: .staticDataEnd) }
      return
    }
    if kind == .pv, !seen.contains(.x86PVInfo) { throw .missingBefore(record: type, needs: .x86PVInfo) }
    if type == .staticDataEnd { return }
    if !seen.contains(.staticDataEnd) { throw .missingBefore(record: type, needs: .staticDataEnd) }
    if type == .x86PVP2MFrames || type == .pageData, let late = Self.tail.first(where: seen.contains) {
      throw .tooLate(record: type, after: late)
    }
    if type == .pageData, kind == .pv, lastPFN == nil {
      throw .missingBefore(record: type, needs: .x86PVP2MFrames)
    }
  }

  private mutating func admitP2M(
    _ record: Record, _ start: UInt32, _ end: UInt32, _ pfns: [UInt64]
  ) throws(StreamFault) {
    let perFrame = UInt32(pageSize / width)
    guard pfns.count == Int(end / perFrame) - Int(start / perFrame) + 1 else {
      throw .bodyLength(type: record.type.rawValue, length: record.body.count)
    }
    // A gap would leave p2m frames of the new guest at pfn 0 for all pfns in between.
    guard UInt64(start) <= lastPFN.map({ $0 + 1 }) ?? 0 else { throw .p2mRange(start: start, end: end) }
    let last = max(lastPFN ?? 0, UInt64(end))
    for pfn in pfns where pfn > last { throw .pfnRange(pfn) }
    lastPFN = last
  }

  private mutating func admitVCPU(
    _ record: Record, _ state: VCPUState, _ id: UInt32, _ blob: [UInt8]
  ) throws(StreamFault) {
    guard id < Self.maximumVCPUs else { throw .vcpuRange(id) }
    // sizeof vcpu_guest_context_x86_64_t and _x86_32_t (public/arch-x86/xen.h).
    if state == .basic, blob.count != (width == 8 ? 5168 : 2800) {
      throw .bodyLength(type: record.type.rawValue, length: record.body.count)
    }
    guard vcpuRecords.insert(VCPURecord(type: record.type, id: id)).inserted else {
      throw .repeated(record.type)
    }
  }
}
