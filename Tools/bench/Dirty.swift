import ArgumentParser
import CXen
import Glibc
import Xen

/// Whether this hypervisor logs a guest's writes, and how many pages it logged: the lab's word on its two hypervisors.
struct Dirty: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Log a guest's writes for a while and count the pages.")

  @Argument(help: "Name, id or uuid of the guest.") var guest: String
  @Option(help: "For how many seconds.") var seconds: UInt32 = 2

  func run() throws {
    let domain = try Hypervisor().find(guest, store: try XenStore()).id
    let xen = xc_interface_open(nil, nil, 0)
    defer { xc_interface_close(xen) }
    var frames: xen_pfn_t = 0
    guard xc_domain_nr_gpfns(xen, domain, &frames) == 0 else { throw failure("xc_domain_nr_gpfns") }
    var buffer = ckpt_hypercall_buffer()
    let pages = Int32(frames / 8 / 4096 + 1)
    guard let bitmap = xc__hypercall_buffer_alloc_pages(xen, &buffer, pages) else { throw failure("bitmap") }
    defer { xc__hypercall_buffer_free_pages(xen, &buffer, pages) }
    memset(bitmap, 0, Int(pages) * 4096)

    guard xc_shadow_control(xen, domain, UInt32(XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY), nil, 0) == 0 else {
      throw failure("ENABLE_LOGDIRTY")
    }
    defer { xc_shadow_control(xen, domain, UInt32(XEN_DOMCTL_SHADOW_OP_OFF), nil, 0) }
    sleep(seconds)
    var statistics = xc_shadow_op_stats_t()
    guard
      xc_logdirty_control(xen, domain, UInt32(XEN_DOMCTL_SHADOW_OP_CLEAN), &buffer, UInt(frames), 0, &statistics) >= 0
    else { throw failure("CLEAN") }
    let bytes = UnsafeRawBufferPointer(start: bitmap, count: Int(pages) * 4096)
    print("frames=\(frames) dirty=\(bytes.reduce(0) { $0 + $1.nonzeroBitCount })")
  }

  private func failure(_ call: String) -> ValidationError {
    ValidationError("\(call): \(String(cString: strerror(errno)))")
  }
}
