import MigrationStream
import Xen

/// A guest's state, put into the records of the migration stream.
package enum GuestRecords {
  /// Our own record in an epoch file: the guest's configuration as JSON. "ck" in the upper half keeps clear of Xen's
  /// numbers.
  package static let configuration: UInt32 = 0x636B_0001

  /// Records that stand before STATIC_DATA_END in a stream.
  static let staticTypes: Set<RecordType> = [.x86PVInfo, .x86CPUIDPolicy, .x86MSRPolicy]

  static func encode(policy: CPUPolicy, _ state: GuestImage.State) -> [Record] {
    var bodies: [RecordBody] = []
    if case .pv = state { bodies.append(.pvInfo(width: 8, levels: 4)) }
    if !policy.leaves.isEmpty { bodies.append(.cpuidPolicy(policy.leaves)) }
    if !policy.msrs.isEmpty { bodies.append(.msrPolicy(policy.msrs)) }
    switch state {
    case .pv(let pv):
      bodies.append(.pvP2MFrames(start: 0, end: UInt32(pv.highestPFN), pfns: pv.p2mFrames))
      bodies.append(tsc(pv.tsc))
      bodies.append(.sharedInfo(pv.sharedInfo))
      for vcpu in pv.vcpus {
        bodies.append(.pvVCPU(.basic, id: vcpu.id, blob: vcpu.basic))
        bodies.append(.pvVCPU(.extended, id: vcpu.id, blob: vcpu.extended))
        if !vcpu.xsave.isEmpty { bodies.append(.pvVCPU(.xsave, id: vcpu.id, blob: vcpu.xsave)) }
        if !vcpu.msrs.isEmpty { bodies.append(.pvVCPU(.msrs, id: vcpu.id, blob: vcpu.msrs)) }
      }
    case .pvh(let info, let hvm):
      bodies.append(tsc(info))
      bodies.append(.hvmContext(hvm.context))
      // After the pages: the reader clears store and console pages as soon as it sees the parameters.
      bodies.append(.hvmParams(hvm.parameters.map { HVMParam(index: $0.index, value: $0.value) }))
    }
    return bodies.map { Record($0) }
  }

  private static func tsc(_ info: Xen.TSCInfo) -> RecordBody {
    .tscInfo(
      MigrationStream.TSCInfo(
        mode: info.mode, kilohertz: info.khz, nanoseconds: info.nanoseconds, incarnation: info.incarnation))
  }
}
