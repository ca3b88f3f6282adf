import CXen
import Glibc

/// The virtual machine state that Xen itself holds for a PVH guest.
public struct HVMState: Sendable {
  /// Xen's own HVM save records: CPUs, interrupt controllers, timers.
  public let context: [UInt8]
  /// Parameters with a value, in the order of the list below.
  public let parameters: [(index: UInt64, value: UInt64)]

  /// The parameters that belong in a saved image, by number (public/hvm/params.h): store, ioreq and bufioreq
  /// pages, the three vm_event rings, VM86 TSS, console, ACPI ports, Viridian, identity page table, generation
  /// id, ioreq server pages, x87 FIP width, MCA.
  private static let saved: [Int32] = [
    HVM_PARAM_STORE_PFN, HVM_PARAM_IOREQ_PFN, HVM_PARAM_BUFIOREQ_PFN, HVM_PARAM_PAGING_RING_PFN,
    HVM_PARAM_MONITOR_RING_PFN, HVM_PARAM_SHARING_RING_PFN, HVM_PARAM_VM86_TSS_SIZED, HVM_PARAM_CONSOLE_PFN,
    HVM_PARAM_ACPI_IOPORTS_LOCATION, HVM_PARAM_VIRIDIAN, HVM_PARAM_IDENT_PT, HVM_PARAM_VM_GENERATION_ID_ADDR,
    HVM_PARAM_IOREQ_SERVER_PFN, HVM_PARAM_NR_IOREQ_SERVER_PAGES, HVM_PARAM_X87_FIP_WIDTH, HVM_PARAM_MCA_CAP,
  ]

  /// Reads the state of a suspended guest; `size`: of its HVM context, in bytes, as ``size(_:domain:)`` said.
  init(_ hypervisor: Hypervisor, domain: UInt32, size: Int) throws(XenError) {
    var bytes = [UInt8](repeating: 0, count: size)
    let length = xc_domain_hvm_getcontext(hypervisor.handle, domain, &bytes, UInt32(size))
    guard length > 0 else { throw .call("HVM context", domain: domain, errno: errno) }
    context = Array(bytes.prefix(Int(length)))
    var parameters: [(index: UInt64, value: UInt64)] = []
    for index in HVMState.saved {
      var value: UInt64 = 0
      guard xc_hvm_param_get(hypervisor.handle, domain, UInt32(index), &value) == 0 else {
        throw .call("HVM parameter \(index)", domain: domain, errno: errno)
      }
      if value != 0 { parameters.append((UInt64(index), value)) }
    }
    self.parameters = parameters
  }

  /// Bytes that the context can take; asked for before the pause.
  static func size(_ hypervisor: Hypervisor, domain: UInt32) throws(XenError) -> Int {
    let size = xc_domain_hvm_getcontext(hypervisor.handle, domain, nil, 0)
    guard size > 0 else { throw .call("HVM context size", domain: domain, errno: errno) }
    return Int(size)
  }
}
