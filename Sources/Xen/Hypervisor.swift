import CXen
import Glibc

/// The control interface to the running hypervisor (libxenctrl), with its foreign-memory handle.
///
/// libxenctrl's default handle may be used from several threads at once (xenctrl.h, "re-entrant"); nothing of
/// it survives a `fork`.
public final class Hypervisor: @unchecked Sendable {
  /// The one release whose domctl layouts this build knows (XEN_DOMCTL_INTERFACE_VERSION 0x15).
  public static let release = "4.17"
  /// The domain this process runs in; checkpoints are a privilege of dom0.
  static let ownDomain: UInt32 = 0

  let handle: OpaquePointer
  let foreignMemory: OpaquePointer
  private let logger: UnsafeMutablePointer<xentoollog_logger>

  /// Opens the interface and checks the release.
  ///
  /// - Throws: ``XenError/noXen``, ``XenError/notRoot``, ``XenError/unreachable(service:errno:)``,
  ///   ``XenError/wrongRelease(found:needed:)``.
  public init() throws(XenError) {
    guard Hypervisor.isThere else { throw .noXen }
    guard geteuid() == 0 else { throw .notRoot }
    // libxenctrl would print its own lines to stderr, in the middle of ours; our errors carry the errno.
    logger = .allocate(capacity: 1)
    logger.initialize(
      to: xentoollog_logger(
        vmessage: { _, _, _, _, _, _ in }, progress: { _, _, _, _, _, _ in }, destroy: { _ in }))
    guard let handle = xc_interface_open(logger, logger, 0) else {
      let code = errno
      logger.deallocate()
      throw .unreachable(service: "the hypervisor", errno: code)
    }
    self.handle = handle
    foreignMemory = xc_interface_fmem_handle(handle)
    try Hypervisor.require(version: xc_version(handle, XENVER_version, nil))
  }

  /// - Parameter version: major and minor in the upper and lower 16 bits (public/version.h, XENVER_version).
  /// - Throws: ``XenError/wrongRelease(found:needed:)``.
  static func require(version: Int32) throws(XenError) {
    let found = "\(version >> 16).\(version & 0xffff)"
    guard found == release else { throw .wrongRelease(found: found, needed: release) }
  }

  deinit {
    xc_interface_close(handle)
    logger.deallocate()
  }

  /// The state of one domain, read afresh.
  ///
  /// `XEN_DOMCTL_getdomaininfo` is the one domctl that does not take Xen's global domctl lock, so it may be
  /// polled. It answers with the next domain when the asked one is gone, hence the comparison.
  /// - Throws: ``XenError/domainGone(_:)``.
  public func domain(_ id: UInt32) throws(XenError) -> Domain {
    var info = xc_dominfo_t()
    guard xc_domain_getinfo(handle, id, 1, &info) == 1, info.domid == id else { throw .domainGone(id) }
    return Domain(info)
  }

  /// All domains of the host, Domain-0 included.
  public func domains() throws(XenError) -> [Domain] {
    var result: [Domain] = []
    var info = xc_dominfo_t()
    var next: UInt32 = 0
    while xc_domain_getinfo(handle, next, 1, &info) == 1 {
      result.append(Domain(info))
      next = info.domid + 1
    }
    return result
  }

  /// This kernel runs on Xen, and can ask it.
  public static var isThere: Bool {
    access("/dev/xen/privcmd", F_OK) == 0 || access("/proc/xen/privcmd", F_OK) == 0
  }

  /// Finds a running domain by name, by number, or by uuid, in this order.
  ///
  /// - Throws: ``XenError/noSuchDomain(_:)``.
  public func find(_ text: String, store: XenStore) throws(XenError) -> Domain {
    let domains = try domains()
    for domain in domains {
      if try store.name(of: domain.id) == text { return domain }
    }
    if let id = UInt32(text), let domain = domains.first(where: { $0.id == id }) { return domain }
    if let domain = domains.first(where: { $0.uuid == text.lowercased() }) { return domain }
    throw .noSuchDomain(text)
  }

  /// One past the highest machine frame of RAM.
  func machineFrames() throws(XenError) -> UInt64 {
    var count: UInt = 0
    guard xc_maximum_ram_page(handle, &count) == 0 else {
      throw .call("size of the machine frame table", domain: Hypervisor.ownDomain, errno: errno)
    }
    return UInt64(count)
  }

  /// Memory of the host that no domain has, in bytes.
  public func freeBytes() throws(XenError) -> UInt64 {
    let info = try host()
    return (info.free_pages + info.scrub_pages) * UInt64(pageSize)
  }

  /// Whether it was built with shadow paging, without which it cannot log the writes of PV guests.
  public func hasShadowPaging() throws(XenError) -> Bool {
    try host().capabilities & 1 << UInt32(_XEN_SYSCTL_PHYSCAP_shadow) != 0
  }

  private func host() throws(XenError) -> xc_physinfo_t {
    var info = xc_physinfo_t()
    guard xc_physinfo(handle, &info) == 0 else {
      throw .call("asking for the host's memory and abilities", domain: Hypervisor.ownDomain, errno: errno)
    }
    return info
  }
}
