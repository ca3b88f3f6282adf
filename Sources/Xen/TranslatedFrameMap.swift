import CXen
import Glibc

/// The pages of a PVH guest: Xen itself keeps the map, and its type query tells holes from memory.
final class TranslatedFrameMap: FrameMap {
  private let hypervisor: Hypervisor
  private let domain: UInt32
  /// Pages that Xen counted for the domain before the last scan, and once everything it found was mapped.
  private var pagesAtScan: UInt64 = 0
  private var pagesWhenMapped: UInt64?

  init(_ hypervisor: Hypervisor, _ domain: Domain) {
    self.hypervisor = hypervisor
    self.domain = domain.id
  }

  func scan() throws(XenError) -> PageSet {
    pagesAtScan = try hypervisor.domain(domain).pages
    pagesWhenMapped = nil
    var frameCount: xen_pfn_t = 0
    guard xc_domain_nr_gpfns(hypervisor.handle, domain, &frameCount) == 0 else {
      throw .call("size of the guest's frame space", domain: domain, errno: errno)
    }
    // Every frame number, holes too: the guest may put memory anywhere, and pages of Xen's own that it mapped (shared info,
    // grant table) are found as well, so that no count tells when all are found.
    let size = UInt64(GuestMemory.batchFrames)
    var present = PageSet(frames: Int(frameCount))
    var types = [UInt8](repeating: 0, count: GuestMemory.batchFrames)
    for first in stride(from: 0, to: UInt64(frameCount), by: Int(size)) {
      let frames = Array(first..<min(first + size, UInt64(frameCount)))
      try types.withUnsafeMutableBufferPointer { types throws(XenError) in
        try PageType.query(hypervisor, domain: domain, frames: frames, into: types)
      }
      for (frame, type) in zip(frames, types) where PageType.carriesData(type) { present.insert(frame) }
    }
    return present
  }

  func assume(pages: UInt64) -> Bool {
    pagesAtScan = pages
    pagesWhenMapped = nil
    return true
  }

  var pageTotal: UInt64 { pagesAtScan }

  func mapped() throws(XenError) {
    // A count that moved in between may hide a page that the scan came too early for.
    let pages = try hypervisor.domain(domain).pages
    pagesWhenMapped = pages == pagesAtScan ? pages : nil
  }

  /// Mappings hold a reference on every page, so a page that the guest gave back stays in Xen's count, and a new
  /// one in its place raises it: an equal count proves that no mapped frame number changed its page.
  func change(since known: PageSet) throws(XenError) -> FrameMapChange {
    let pages = try hypervisor.domain(domain).pages
    let stale = pages != pagesWhenMapped
    guard pages != pagesAtScan else { return FrameMapChange(mappingsAreStale: stale) }
    let present = try scan()
    return FrameMapChange(
      come: present.subtracting(known), gone: known.subtracting(present), mappingsAreStale: true)
  }

  func frames(of pfns: [UInt64]) -> [UInt64] { pfns }

  func pfn(ofMachineFrame frame: UInt64) -> UInt64? { nil }
}
