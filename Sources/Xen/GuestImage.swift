import CXen
import Glibc

/// What kind of guest a domain is.
public enum GuestKind: String, Sendable {
  case pv
  case pvh
}

/// Everything of a running guest that an epoch holds besides its disks: memory, CPUs, policies.
///
/// Made while the guest runs; ``processors()`` and ``state(_:)`` belong into the pause.
public final class GuestImage {
  /// What only the guest's kind can tell about a suspended guest.
  public enum State: Sendable {
    case pv(PVState)
    case pvh(tsc: TSCInfo, HVMState)
  }

  /// What hypercalls tell of the suspended guest's CPUs and clock, before any of it is looked at.
  public struct Processors: Sendable {
    fileprivate let tsc: TSCInfo
    fileprivate let pv: [RawVCPU]
    fileprivate let pvh: HVMState?
  }

  public struct PVState: Sendable {
    public let tsc: TSCInfo
    /// The whole shared info page.
    public let sharedInfo: [UInt8]
    public let vcpus: [VCPUState]
    /// The guest's frames that hold its p2m list.
    public let p2mFrames: [UInt64]
    /// The guest's highest frame number.
    public let highestPFN: UInt64
    /// The guest rewrites this page as soon as it is resumed: it must come with the next collect of dirty pages.
    public let startInfoPFN: UInt64
  }

  public let kind: GuestKind
  public let memory: GuestMemory
  public let policy: CPUPolicy
  private let hypervisor: Hypervisor
  public let domain: Domain
  private let spent: SpentMappings
  private let pv: PVFrameMap?
  /// Machine frames of the store and console rings of a PV guest: the toolstack sets them once.
  private let rings: [String: UInt64]
  private let hvmStateSize: Int

  /// - Throws: ``XenError/unsupported(domain:_:)`` for HVM and 32-bit PV guests.
  public init(_ hypervisor: Hypervisor, _ store: XenStore, _ domain: Domain) throws(XenError) {
    self.hypervisor = hypervisor
    self.domain = domain
    policy = try CPUPolicy(hypervisor, domain: domain.id)
    spent = SpentMappings()
    let pages = XenDomainMemory(hypervisor: hypervisor, space: try FrameSpace(hypervisor, store, domain))
    if domain.isTranslated {
      try GuestImage.refuseMissingMemory(hypervisor, domain.id)
      guard try store.read("/libxl/\(domain.id)/type") == "pvh" else {
        throw .unsupported(
          domain: domain.id, "it is an HVM guest, whose device model is not saved yet; PV and PVH guests are")
      }
      kind = .pvh
      pv = nil
      rings = [:]
      hvmStateSize = try HVMState.size(hypervisor, domain: domain.id)
      memory = GuestMemory(pages, frameMap: TranslatedFrameMap(pages), spent: spent)
    } else {
      var width: UInt32 = 0
      guard xc_domain_get_guest_width(hypervisor.handle, domain.id, &width) == 0 else {
        throw .call("guest width", domain: domain.id, errno: errno)
      }
      guard width == 8 else { throw .unsupported(domain: domain.id, "it is a 32-bit PV guest; 64-bit ones are saved") }
      let frameMap = try PVFrameMap(
        pages, pages.space, MachineToPhysical(hypervisor), sharedInfoFrame: domain.sharedInfoFrame, spent)
      kind = .pv
      pv = frameMap
      var rings: [String: UInt64] = [:]
      for ring in ["store", "console"] {
        rings[ring] = try store.read("/local/domain/\(domain.id)/\(ring)/ring-ref").flatMap { UInt64($0) }
      }
      self.rings = rings
      hvmStateSize = 0
      memory = GuestMemory(pages, frameMap: frameMap, spent: spent)
    }
  }

  /// A guest that was promised more memory than it was given (`maxmem` above `memory`) gets what it touches from a small store;
  /// to ask for a page's type counts as a touch, and where the store is empty Xen crashes the guest. Its balloon driver ends
  /// that when it starts, if it wants to.
  private static func refuseMissingMemory(_ hypervisor: Hypervisor, _ domain: UInt32) throws(XenError) {
    var (total, store, promised) = (UInt64(0), UInt64(0), UInt64(0))
    guard xc_domain_get_pod_target(hypervisor.handle, domain, &total, &store, &promised) == 0 else {
      throw .call("populate-on-demand state", domain: domain, errno: errno)
    }
    guard promised <= store else {
      throw .unsupported(
        domain: domain,
        "\(promised - store) of its pages are promised and not there (populate-on-demand); take it when its balloon driver "
          + "has given them back, or start it with maxmem = memory")
    }
  }

  /// Reads CPUs and clock of the suspended guest; on any thread, beside copies of its memory. Before the resume: it changes vCPU
  /// 0's rax.
  public func processors() throws(XenError) -> Processors {
    let tsc = try TSCInfo(hypervisor, domain: domain.id)
    guard kind == .pv else {
      return Processors(tsc: tsc, pv: [], pvh: try HVMState(hypervisor, domain: domain.id, size: hvmStateSize))
    }
    return Processors(tsc: tsc, pv: try VCPUReader(hypervisor: hypervisor, domain: domain).read(), pvh: nil)
  }

  /// Puts the frames that a PV guest's CPUs name into the guest's own numbers, and adds its shared state. Its memory must be settled.
  public func state(_ processors: Processors) throws(XenError) -> State {
    guard let pv else { return .pvh(tsc: processors.tsc, processors.pvh!) }
    let vcpus = try PVProcessors(processors.pv, domain: domain.id, pv)
    try checkStartInfo(vcpus.startInfoPFN, pv)
    return .pv(
      PVState(
        tsc: processors.tsc,
        sharedInfo: [UInt8](UnsafeRawBufferPointer(start: pv.sharedInfo.base, count: pageSize)),
        vcpus: vcpus.vcpus, p2mFrames: try pv.listFrames(), highestPFN: UInt64(pv.p2m.count - 1),
        startInfoPFN: vcpus.startInfoPFN))
  }

  /// Checks the start info page: a guest that suspended properly wrote its own frame numbers of the store
  /// and console rings there (Linux's xen_pre_suspend); one that did not could never be restored.
  private func checkStartInfo(_ startInfo: UInt64, _ pv: PVFrameMap) throws(XenError) {
    guard let frame = pv.confirmedFrame(Int(startInfo)) else {
      throw .guestData(domain: domain.id, "its start_info page is not in its memory")
    }
    let page = try ForeignMapping(hypervisor, domain: domain.id, frames: [frame])
    spent.add(page)
    try page.requireAll("its start_info page", domain: domain.id)
    // public/xen.h, struct start_info on x86-64: store_mfn at 56, console.domU.mfn at 72.
    for (ring, offset) in [("store", 56), ("console", 72)] {
      let pfn = page.word(at: offset)
      guard pfn < UInt64(pv.p2m.count), let frame = pv.confirmedFrame(Int(pfn)), rings[ring] == frame else {
        throw .guestData(domain: domain.id, "its start_info does not name its \(ring) ring as a frame of its own")
      }
    }
  }
}
