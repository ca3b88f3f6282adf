import CXen
import Glibc

/// How many frame numbers a guest uses, bounded.
///
/// The number is the guest's own word: a PV guest writes it into its shared info page, a PVH guest raises it by mapping
/// a page of Xen's high up. Sets, buffers and scans of ours grow with it.
struct FrameSpace: Sendable {
  let domain: UInt32
  /// The most frame numbers that are plausible: twice what the guest may own, and a million for holes.
  let limit: UInt64

  /// - Parameter mostKiB: the most memory that it may have, or had when it was built.
  init(domain: UInt32, mostKiB: UInt64) {
    self.domain = domain
    // The stream counts a PV guest's frames in 32 bits, and that is 16 TiB, where Xen itself ends.
    limit = min(min(mostKiB, 1 << 34) / 4 * 2 + (1 << 20), 1 << 32)
  }

  /// - Throws: ``XenError/call(_:domain:errno:)``.
  init(_ hypervisor: Hypervisor, _ store: XenStore, _ domain: Domain) throws(XenError) {
    // Where nobody set a maximum, Xen's is larger than any host.
    let most = min(domain.maximumKiB, try hypervisor.machineFrames() * 4)
    // `xl mem-set` lowers Xen's maximum with the guest's memory, but the frames that are left keep their numbers. What
    // the guest was built with stands in a node that only its toolstack writes.
    let built = try store.read("/local/domain/\(domain.id)/memory/static-max").flatMap { UInt64($0) } ?? 0
    self.init(domain: domain.id, mostKiB: max(most, built))
  }

  /// - Throws: ``XenError/guestData(domain:_:)`` for a number of frames that is not plausible.
  func checked(_ count: UInt64) throws(XenError) -> Int {
    guard count > 0, count <= limit else {
      throw .guestData(domain: domain, "it claims \(count) frames, at most \(limit) are plausible for its memory")
    }
    return Int(count)
  }

  /// The highest frame number in use and one, as Xen has it now.
  func count(_ hypervisor: Hypervisor) throws(XenError) -> Int {
    // A PV guest's own word may be a number that libxenctrl takes for an error without an errno, or for none and leaves
    // `count` alone.
    var count = xen_pfn_t.max
    errno = 0
    guard xc_domain_nr_gpfns(hypervisor.handle, domain, &count) == 0 || errno == 0 else {
      throw .call("size of the guest's frame space", domain: domain, errno: errno)
    }
    return try checked(UInt64(count))
  }
}
