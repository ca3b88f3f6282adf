import CXen
import Glibc

/// Xen's table from machine frame to the owner's own frame number, mapped read-only.
///
/// It is live and covers the whole host. A PV guest may write any value for its own frames, and values of
/// others' frames mean nothing to us: an answer counts only after the round trip through the guest's p2m.
final class MachineToPhysical: @unchecked Sendable {
  /// One past the highest machine frame of RAM.
  let frameCount: UInt64
  private let table: UnsafePointer<xen_pfn_t>
  private let byteCount: Int

  init(_ hypervisor: Hypervisor) throws(XenError) {
    var maximum: UInt = 0
    guard xc_maximum_ram_page(hypervisor.handle, &maximum) == 0 else {
      throw .call("size of the machine frame table", domain: Hypervisor.ownDomain, errno: errno)
    }
    guard let table = xc_map_m2p(hypervisor.handle, maximum, PROT_READ, nil) else {
      throw .call("mapping the machine frame table", domain: Hypervisor.ownDomain, errno: errno)
    }
    self.table = UnsafePointer(table)
    frameCount = UInt64(maximum)
    // xc_map_m2p maps whole 2 MiB chunks and leaves their number to the caller's arithmetic.
    let chunk = 2 << 20
    byteCount = (Int(maximum) * MemoryLayout<xen_pfn_t>.size + chunk - 1) / chunk * chunk
  }

  deinit { munmap(UnsafeMutableRawPointer(mutating: table), byteCount) }

  /// The owner's frame number for a machine frame, or nil beyond RAM.
  func frame(of machineFrame: UInt64) -> UInt64? {
    machineFrame < frameCount ? UInt64(table[Int(machineFrame)]) : nil
  }
}
