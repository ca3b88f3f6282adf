import CXen
import Glibc

/// Memory that the hypervisor may write to.
///
/// Ordinary memory will not do: Linux may move it, and the hypercall fails with EFAULT. The library takes this
/// from `/dev/xen/hypercall`.
struct HypercallBuffer: ~Copyable {
  private var buffer = ckpt_hypercall_buffer()
  /// Held, not only its handle: the library looks into that to free the memory.
  private let hypervisor: Hypervisor
  let bytes: UnsafeMutableRawBufferPointer

  init(_ hypervisor: Hypervisor, byteCount: Int, domain: UInt32) throws(XenError) {
    let pages = max(1, (byteCount + pageSize - 1) / pageSize)
    guard let base = xc__hypercall_buffer_alloc_pages(hypervisor.handle, &buffer, Int32(pages)) else {
      throw .call("hypercall buffer of \(byteCount) bytes", domain: domain, errno: errno)
    }
    self.hypervisor = hypervisor
    self.pages = Int32(pages)
    bytes = UnsafeMutableRawBufferPointer(start: base, count: byteCount)
    memset(base, 0, pages * pageSize)
  }

  private let pages: Int32

  /// For the calls of libxenctrl that take its own description of a buffer.
  mutating func withRaw<Result>(_ body: (UnsafeMutablePointer<xc_hypercall_buffer_t>) -> Result) -> Result {
    body(&buffer)
  }

  deinit {
    var buffer = buffer
    xc__hypercall_buffer_free_pages(hypervisor.handle, &buffer, pages)
  }
}
