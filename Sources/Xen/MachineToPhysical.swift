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
  private let unmap: () -> Void

  /// - Parameters:
  ///   - table: the owner's frame number of each machine frame, for as long as this object lives.
  ///   - unmap: called when it goes.
  init(_ table: UnsafeBufferPointer<xen_pfn_t>, unmap: @escaping () -> Void = {}) {
    self.table = table.baseAddress!
    frameCount = UInt64(table.count)
    self.unmap = unmap
  }

  convenience init(_ hypervisor: Hypervisor) throws(XenError) {
    let maximum = try hypervisor.machineFrames()
    guard let table = xc_map_m2p(hypervisor.handle, UInt(maximum), PROT_READ, nil) else {
      throw .call("mapping the machine frame table", domain: Hypervisor.ownDomain, errno: errno)
    }
    // xc_map_m2p maps whole 2 MiB chunks and leaves their number to the caller's arithmetic.
    let chunk = 2 << 20
    let byteCount = (Int(maximum) * MemoryLayout<xen_pfn_t>.size + chunk - 1) / chunk * chunk
    self.init(UnsafeBufferPointer(start: table, count: Int(maximum))) { munmap(table, byteCount) }
  }

  deinit { unmap() }

  /// The owner's frame number for a machine frame, or nil beyond RAM.
  func frame(of machineFrame: UInt64) -> UInt64? {
    machineFrame < frameCount ? ForeignMapping.word(table + Int(machineFrame)) : nil
  }
}
