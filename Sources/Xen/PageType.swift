import CXen
import Glibc

/// What Xen uses a guest's page for, in the four bits that the migration stream carries
/// (public/domctl.h, XEN_DOMCTL_PFINFO_*, shifted down by 28).
public enum PageType {
  public static let ordinary: UInt8 = 0x0
  /// A page table of level 1 to 4; bit 3 tells that it is pinned.
  public static let tables: ClosedRange<UInt8> = 0x1...0xC
  public static let broken: UInt8 = 0xD
  /// Allocated, content without meaning.
  public static let allocateOnly: UInt8 = 0xE
  /// No page of the guest here: a hole, MMIO, or a page that Xen owns.
  public static let invalid: UInt8 = 0xF

  /// Whether a page of this type has content to save.
  public static func carriesData(_ type: UInt8) -> Bool { type <= 0xC }

  /// The page-table level (1 to 4), or nil for a page that is none.
  static func tableLevel(_ type: UInt8) -> Int? {
    let level = Int(type & 0x7)
    return (1...4).contains(level) && type <= 0xC ? level : nil
  }

  /// The most frames one query takes; more is E2BIG.
  static let batch = 1024

  /// Asks Xen for the types of up to ``batch`` frames (machine frames for PV, the guest's own for PVH).
  ///
  /// The query populates populate-on-demand pages; such guests are refused before.
  /// - Throws: ``XenError/call(_:domain:errno:)``.
  static func query(
    _ hypervisor: Hypervisor, domain: UInt32, frames: [UInt64], into types: UnsafeMutableBufferPointer<UInt8>
  ) throws(XenError) {
    guard !frames.isEmpty else { return }
    var entries = frames.map { xen_pfn_t($0) }
    guard xc_get_pfn_type_batch(hypervisor.handle, domain, UInt32(entries.count), &entries) == 0 else {
      throw .call("page type query", domain: domain, errno: errno)
    }
    for index in entries.indices { types[index] = UInt8(truncatingIfNeeded: entries[index] >> 28) & 0xF }
  }
}
