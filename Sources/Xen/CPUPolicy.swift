import CXen
import Glibc

/// What a guest sees of the CPU: CPUID leaves and feature MSRs, constant for the life of a domain.
public struct CPUPolicy: Sendable {
  /// `xen_cpuid_leaf_t`, 24 bytes each.
  public let leaves: [UInt8]
  /// `xen_msr_entry_t`, 16 bytes each.
  public let msrs: [UInt8]

  /// - Throws: ``XenError/call(_:domain:errno:)``.
  init(_ hypervisor: Hypervisor, domain: UInt32) throws(XenError) {
    func failed(_ what: String) -> XenError { .call(what, domain: domain, errno: errno) }
    var leafCount: UInt32 = 0
    var msrCount: UInt32 = 0
    guard xc_cpu_policy_get_size(hypervisor.handle, &leafCount, &msrCount) == 0 else {
      throw failed("CPU policy size")
    }
    guard let policy = xc_cpu_policy_init() else { throw failed("CPU policy") }
    defer { xc_cpu_policy_destroy(policy) }
    guard xc_cpu_policy_get_domain(hypervisor.handle, domain, policy) == 0 else { throw failed("CPU policy") }
    var leaves = [xen_cpuid_leaf_t](repeating: .init(), count: Int(leafCount))
    var msrs = [xen_msr_entry_t](repeating: .init(), count: Int(msrCount))
    // The call lowers both counts to what it wrote.
    guard xc_cpu_policy_serialise(hypervisor.handle, policy, &leaves, &leafCount, &msrs, &msrCount) == 0 else {
      throw failed("CPU policy records")
    }
    self.leaves = leaves.prefix(Int(leafCount)).withUnsafeBytes { [UInt8]($0) }
    self.msrs = msrs.prefix(Int(msrCount)).withUnsafeBytes { [UInt8]($0) }
  }
}

/// A guest's time-stamp counter (`XEN_DOMCTL_gettscinfo`).
public struct TSCInfo: Sendable {
  public let mode: UInt32
  public let khz: UInt32
  public let nanoseconds: UInt64
  public let incarnation: UInt32

  init(_ hypervisor: Hypervisor, domain: UInt32) throws(XenError) {
    var mode: UInt32 = 0
    var khz: UInt32 = 0
    var nanoseconds: UInt64 = 0
    var incarnation: UInt32 = 0
    guard xc_domain_get_tsc_info(hypervisor.handle, domain, &mode, &nanoseconds, &khz, &incarnation) == 0 else {
      throw .call("TSC state", domain: domain, errno: errno)
    }
    (self.mode, self.khz, self.nanoseconds, self.incarnation) = (mode, khz, nanoseconds, incarnation)
  }
}
