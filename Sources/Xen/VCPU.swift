import CXen
import Glibc

/// The state of one PV vCPU as the migration stream carries it, frames already normalised.
public struct VCPUState: Sendable {
  public let id: UInt32
  /// `vcpu_guest_context_x86_64`, 5168 bytes.
  public let basic: [UInt8]
  /// `xen_domctl_ext_vcpucontext`, as many bytes as Xen said.
  public let extended: [UInt8]
  /// xcr0, accumulated xcr0, then the XSAVE area; empty where the CPU has none.
  public let xsave: [UInt8]
  /// 16 bytes per register; empty when all are at their defaults.
  public let msrs: [UInt8]
}

/// A PV vCPU as Xen tells it: its frames are machine frames.
struct RawVCPU: Sendable {
  let id: UInt32
  let context: vcpu_guest_context_any_t
  let extended: [UInt8]
  let xsave: [UInt8]
  let msrs: [UInt8]
}

/// The vCPUs of a suspended PV guest, their frames in the guest's own numbers.
struct PVProcessors {
  let vcpus: [VCPUState]
  /// The frame number of the start info page: the guest passes its machine frame to the suspend call in rdx.
  let startInfoPFN: UInt64

  /// - Throws: ``XenError/guestData(domain:_:)`` when a register names a frame that is not the guest's.
  init(_ raw: [RawVCPU], domain: UInt32, _ map: some FrameMap) throws(XenError) {
    var vcpus: [VCPUState] = []
    var startInfoPFN: UInt64 = 0
    for vcpu in raw {
      var context = vcpu.context
      if vcpu.id == 0 {
        startInfoPFN = try PVProcessors.pfn(UInt64(context.x64.user_regs.rdx), "start_info", domain, map)
        context.x64.user_regs.rdx = startInfoPFN
      }
      try PVProcessors.normalise(&context.x64, domain: domain, map)
      let basic = withUnsafeBytes(of: &context.x64) { [UInt8]($0) }
      vcpus.append(
        VCPUState(id: vcpu.id, basic: basic, extended: vcpu.extended, xsave: vcpu.xsave, msrs: vcpu.msrs))
    }
    guard vcpus.first?.id == 0 else { throw .guestData(domain: domain, "its vCPU 0 is offline") }
    (self.vcpus, self.startInfoPFN) = (vcpus, startInfoPFN)
  }

  /// GDT frames, CR3 and the user-mode CR3 (ctrlreg 1 on x86-64) hold machine frames.
  static func normalise(
    _ context: inout vcpu_guest_context_x86_64_t, domain: UInt32, _ map: some FrameMap
  ) throws(XenError) {
    func pfn(_ frame: UInt64, _ what: String) throws(XenError) -> UInt64 {
      try PVProcessors.pfn(frame, what, domain, map)
    }
    let descriptors = context.gdt_ents
    guard descriptors <= 7168 else { throw .guestData(domain: domain, "its GDT has \(descriptors) entries") }
    var frames = withUnsafeBytes(of: &context.gdt_frames) { [UInt64]($0.bindMemory(to: UInt64.self)) }
    for index in 0..<Int(descriptors + 511) / 512 { frames[index] = try pfn(frames[index], "its GDT") }
    withUnsafeMutableBytes(of: &context.gdt_frames) { target in
      frames.withUnsafeBytes { target.copyMemory(from: $0) }
    }
    context.ctrlreg.3 = try pfn((UInt64(context.ctrlreg.3) & 0x000F_FFFF_FFFF_F000) >> 12, "CR3") << 12
    if context.ctrlreg.1 != 0 {
      let frame = (UInt64(context.ctrlreg.1) & 0x000F_FFFF_FFFF_F000) >> 12
      context.ctrlreg.1 = try pfn(frame, "the user CR3") << 12 | 1
    }
  }

  private static func pfn(
    _ machineFrame: UInt64, _ what: String, _ domain: UInt32, _ map: some FrameMap
  ) throws(XenError) -> UInt64 {
    guard let pfn = map.pfn(ofMachineFrame: machineFrame) else {
      throw .guestData(domain: domain, "\(what) names frame \(machineFrame), which is not the guest's")
    }
    return pfn
  }
}

/// Reads the vCPUs of a suspended PV guest.
struct VCPUReader {
  let hypervisor: Hypervisor
  let domain: Domain

  /// - Throws: ``XenError/call(_:domain:errno:)``.
  func read() throws(XenError) -> [RawVCPU] {
    var vcpus: [RawVCPU] = []
    for id in 0...domain.highestVCPU {
      var info = xc_vcpuinfo_t()
      guard xc_vcpu_getinfo(hypervisor.handle, domain.id, id, &info) == 0 else { throw failed("vCPU \(id) info") }
      guard info.online == 1 else { continue }
      vcpus.append(
        RawVCPU(
          id: id, context: try rawContext(id), extended: try extended(id), xsave: try xsave(id), msrs: try msrs(id)))
    }
    return vcpus
  }

  private func rawContext(_ id: UInt32) throws(XenError) -> vcpu_guest_context_any_t {
    var context = vcpu_guest_context_any_t()
    guard xc_vcpu_getcontext(hypervisor.handle, domain.id, id, &context) == 0 else {
      throw failed("vCPU \(id) context")
    }
    return context
  }

  private func extended(_ id: UInt32) throws(XenError) -> [UInt8] {
    var call = domctl(XEN_DOMCTL_get_ext_vcpucontext)
    call.u.ext_vcpucontext.vcpu = id
    guard xc_domctl(hypervisor.handle, &call) == 0 else { throw failed("vCPU \(id) extended context") }
    let size = min(Int(call.u.ext_vcpucontext.size), 128)
    return withUnsafeBytes(of: &call.u.ext_vcpucontext) { [UInt8]($0.prefix(size)) }
  }

  private func xsave(_ id: UInt32) throws(XenError) -> [UInt8] {
    var call = domctl(XEN_DOMCTL_getvcpuextstate)
    call.u.vcpuextstate.vcpu = id
    guard xc_domctl(hypervisor.handle, &call) == 0 else { throw failed("vCPU \(id) XSAVE size") }
    let size = Int(call.u.vcpuextstate.size)
    guard call.u.vcpuextstate.xfeature_mask != 0, size > 0 else { return [] }
    let buffer = try HypercallBuffer(hypervisor, byteCount: size, domain: domain.id)
    call.u.vcpuextstate.buffer.p = buffer.bytes.baseAddress!.assumingMemoryBound(to: UInt64.self)
    guard xc_domctl(hypervisor.handle, &call) == 0 else { throw failed("vCPU \(id) XSAVE state") }
    return [UInt8](buffer.bytes.prefix(Int(call.u.vcpuextstate.size)))
  }

  private func msrs(_ id: UInt32) throws(XenError) -> [UInt8] {
    var call = domctl(XEN_DOMCTL_get_vcpu_msrs)
    call.u.vcpu_msrs.vcpu = id
    guard xc_domctl(hypervisor.handle, &call) == 0 else { throw failed("vCPU \(id) MSR count") }
    let count = Int(call.u.vcpu_msrs.msr_count)
    guard count > 0 else { return [] }
    let size = MemoryLayout<xen_domctl_vcpu_msr_t>.stride
    let buffer = try HypercallBuffer(hypervisor, byteCount: count * size, domain: domain.id)
    call.u.vcpu_msrs.msrs.p = buffer.bytes.baseAddress!.assumingMemoryBound(to: xen_domctl_vcpu_msr_t.self)
    guard xc_domctl(hypervisor.handle, &call) == 0 else { throw failed("vCPU \(id) MSRs") }
    return [UInt8](buffer.bytes.prefix(Int(call.u.vcpu_msrs.msr_count) * size))
  }

  private func domctl(_ command: Int32) -> xen_domctl {
    var call = xen_domctl()
    call.cmd = UInt32(command)
    call.domain = domid_t(domain.id)
    return call
  }

  private func failed(_ what: String) -> XenError { .call(what, domain: domain.id, errno: errno) }
}
