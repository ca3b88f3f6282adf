import CXen
import Glibc

/// The pages of a PVH guest: Xen itself keeps the map, and its type query tells holes from memory.
final class TranslatedFrameMap: FrameMap {
  private let hypervisor: Hypervisor
  private let domain: UInt32
  /// Pages that Xen counted for the domain before the last scan, and once everything it found was mapped.
  private var pagesBeforeScan: UInt64 = 0
  private var pagesWhenMapped: UInt64?

  init(_ hypervisor: Hypervisor, _ domain: Domain) {
    self.hypervisor = hypervisor
    self.domain = domain.id
  }

  func scan() throws(XenError) -> [GuestMemory.Chunk] {
    pagesBeforeScan = try hypervisor.domain(domain).pages
    var frameCount: xen_pfn_t = 0
    guard xc_domain_nr_gpfns(hypervisor.handle, domain, &frameCount) == 0 else {
      throw .call("size of the guest's frame space", domain: domain, errno: errno)
    }
    let size = GuestMemory.chunkFrames
    var chunks: [GuestMemory.Chunk] = []
    var types = [UInt8](repeating: 0, count: size)
    for first in stride(from: UInt64(0), to: UInt64(frameCount), by: size) {
      let frames = Array(first..<min(first + UInt64(size), UInt64(frameCount)))
      try types.withUnsafeMutableBufferPointer { buffer throws(XenError) in
        try PageType.query(hypervisor, domain: domain, frames: frames, into: buffer)
      }
      let present = frames.filter { PageType.carriesData(types[Int($0 - first)]) }
      chunks.append(.init(pfns: present, frames: present))
    }
    return chunks
  }

  func mapped() throws(XenError) {
    // A count that moved in between may hide a page that the scan came too early for.
    let pages = try hypervisor.domain(domain).pages
    pagesWhenMapped = pages == pagesBeforeScan ? pages : nil
  }

  /// Our mappings hold a reference on every page, so a page that the guest gave back stays in Xen's count, and a
  /// new one in its place raises it: an equal count proves that no frame number changed its page. A page that is
  /// only gone shows in the type query that goes with every copy.
  func check() throws(XenError) -> FrameMapChange {
    try hypervisor.domain(domain).pages == pagesWhenMapped ? .unchanged : .untrusted
  }

  func pfn(ofMachineFrame frame: UInt64) -> UInt64? { nil }
}
