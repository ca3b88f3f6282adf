import CXen
import Glibc

/// Xen's log of the pages that a guest writes: one bit per frame number, from one ``collect(into:)`` to the next.
///
/// PVH: nested page tables catch the first write to each page. PV: the guest moves to shadow page tables, which every
/// collect drops, so the guest pays for its working set again; a hypervisor without shadow paging (Debian's) has no log
/// for PV at all.
public final class LogDirty {
  public enum Start: Sendable, Equatable {
    /// It was off, and is on from now.
    case begun
    /// It was on already: the log goes back to the last collect, if nobody else took from it.
    case alreadyOn
    /// This hypervisor has none for this guest.
    case unavailable
  }

  private let hypervisor: Hypervisor
  private let domain: Domain
  private let deviceModel: OpaquePointer?
  private let space: FrameSpace
  private var buffer: HypercallBuffer

  /// - Throws: ``XenError/guestData(domain:_:)`` for a guest with an implausible number of frames.
  public init(_ hypervisor: Hypervisor, _ store: XenStore, _ domain: Domain) throws(XenError) {
    self.hypervisor = hypervisor
    self.domain = domain
    space = try FrameSpace(hypervisor, store, domain)
    let frames = try space.count(hypervisor)
    buffer = try HypercallBuffer(hypervisor, byteCount: LogDirty.bytes(frames), domain: domain.id)
    // Last: nothing closes it when the initialiser throws.
    deviceModel = domain.isTranslated ? xendevicemodel_open(nil, 0) : nil
  }

  deinit { if let deviceModel { xendevicemodel_close(deviceModel) } }

  /// Switches the log on, or learns that it is.
  ///
  /// The switch is also the only honest question whether it is on: reading the log never fails, it just shows nothing
  /// (XEN_DOMCTL_SHADOW_OP_CLEAN does not look).
  /// - Throws: ``XenError/busy(domain:_:)`` when another tool's operation on the guest's paging is unfinished.
  public func begin() throws(XenError) -> Start {
    let on = UInt32(XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY)
    guard xc_shadow_control(hypervisor.handle, domain.id, on, nil, 0) != 0 else { return .begun }
    switch errno {
    case EINVAL: return .alreadyOn
    case EOPNOTSUPP, ENOSYS, ENOMEM: return .unavailable
    case EBUSY: throw .busy(domain: domain.id, "another tool changes its paging mode")
    case let code: throw .call("log-dirty on", domain: domain.id, errno: code)
    }
  }

  /// Switches the log off; harmless when it is.
  public func end() { LogDirty.end(hypervisor, domain: domain.id) }

  /// Switches off a log that another process left on.
  public static func end(_ hypervisor: Hypervisor, domain: UInt32) {
    _ = xc_shadow_control(hypervisor.handle, domain, UInt32(XEN_DOMCTL_SHADOW_OP_OFF), nil, 0)
  }

  /// Adds the frames written since the last collect to `set` and leaves them in the log: nothing is write-protected anew, so that
  /// the guest does not notice.
  ///
  /// - Parameter final: the guest is suspended: frames that Xen itself holds for writing come as well (PVH).
  /// - Returns: how many there were.
  /// - Throws: as ``collect(into:)``; the log is as it was.
  @discardableResult
  public func peek(into set: inout PageSet, final: Bool) throws(XenError) -> Int {
    // paging_log_dirty_op in Xen's mm/paging.c marks those frames for either operation.
    try read(
      UInt32(XEN_DOMCTL_SHADOW_OP_PEEK),
      mode: final && domain.isTranslated ? UInt32(XEN_DOMCTL_SHADOW_LOGDIRTY_FINAL) : 0, into: &set)
  }

  /// Takes the frames written since the last collect out of the log and adds them to `set`.
  ///
  /// - Returns: how many there were.
  /// - Throws: ``XenError/call(_:domain:errno:)``; what the log held may then be lost. ``XenError/guestData(domain:_:)``
  ///   for a guest that grew beyond all bounds; nothing was taken then.
  @discardableResult
  public func collect(into set: inout PageSet) throws(XenError) -> Int {
    try read(UInt32(XEN_DOMCTL_SHADOW_OP_CLEAN), mode: 0, into: &set)
  }

  private func read(_ operation: UInt32, mode: UInt32, into set: inout PageSet) throws(XenError) -> Int {
    let frames = try space.count(hypervisor)
    if LogDirty.bytes(frames) > buffer.bytes.count {
      buffer = try HypercallBuffer(hypervisor, byteCount: LogDirty.bytes(frames), domain: domain.id)
    }
    var statistics = xc_shadow_op_stats_t()
    let bits = UInt(buffer.bytes.count) * 8
    let read = buffer.withRaw { raw in
      xc_logdirty_control(hypervisor.handle, domain.id, operation, raw, bits, mode, &statistics)
    }
    guard read >= 0 else { throw .call("reading the log of dirty pages", domain: domain.id, errno: errno) }
    return set.formUnion(bitmap: UnsafeRawBufferPointer(buffer.bytes))
  }

  /// Marks one frame as written. It must come with the next collect; if it does not, somebody else took from the log.
  ///
  /// - Returns: false for PV guests, where dom0 has no such call.
  public func mark(_ pfn: UInt64) -> Bool {
    guard let deviceModel else { return false }
    return xendevicemodel_modified_memory(deviceModel, domid_t(domain.id), pfn, 1) == 0
  }

  /// Marks frames as written and takes off their write protection: until the next collect they are in the log whether the guest writes
  /// them or not, and it takes no fault when it does.
  ///
  /// - Returns: the frames of which that is so now; none for PV guests.
  public func unprotect(_ pages: PageSet) -> PageSet {
    var unprotected = PageSet()
    guard let deviceModel else { return unprotected }
    for run in pages.runs where LogDirty.unprotect(run, of: domid_t(domain.id), deviceModel) {
      for pfn in run { unprotected.insert(pfn) }
    }
    return unprotected
  }

  /// Marked first: were this process to die in between, a page would be in the log for nothing, and not be written unseen. A frame
  /// that is no RAM keeps its type (allow_p2m_type_change in Xen's hvm/dm.c), and ends the run.
  private static func unprotect(_ run: Range<UInt64>, of domain: domid_t, _ deviceModel: OpaquePointer) -> Bool {
    let count = UInt32(clamping: run.count)
    return xendevicemodel_modified_memory(deviceModel, domain, run.lowerBound, count) == 0
      && xendevicemodel_set_mem_type(deviceModel, domain, HVMMEM_ram_rw, run.lowerBound, count) == 0
  }

  /// Whole pages, so that a guest that grows a little needs no new buffer in the pause.
  private static func bytes(_ frames: Int) -> Int { (frames / 8 / pageSize + 1) * pageSize }
}
