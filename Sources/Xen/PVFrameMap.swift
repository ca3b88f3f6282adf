import CXen
import Glibc

/// The pages of a PV guest: its own p2m list, believed only where Xen's machine-to-physical table agrees.
final class PVFrameMap: FrameMap {
  private let hypervisor: Hypervisor
  private let domain: Domain
  private let machine: MachineToPhysical
  /// The shared info page, mapped as long as this object lives.
  let sharedInfo: ForeignMapping
  private(set) var p2m: LinearP2M
  /// The list as it stood at the last scan or change.
  private var known: [UInt64] = []

  init(_ hypervisor: Hypervisor, _ domain: Domain) throws(XenError) {
    self.hypervisor = hypervisor
    self.domain = domain
    machine = try MachineToPhysical(hypervisor)
    sharedInfo = try ForeignMapping(hypervisor, domain: domain.id, frames: [domain.sharedInfoFrame])
    try sharedInfo.requireAll("the shared info page", domain: domain.id)
    p2m = try LinearP2M(hypervisor, domain, sharedInfo: sharedInfo.base, machine: machine)
  }

  func scan() throws(XenError) -> PageSet {
    if try !p2m.stillHolds(hypervisor, domain, sharedInfo: sharedInfo.base, machine: machine) {
      p2m = try LinearP2M(hypervisor, domain, sharedInfo: sharedInfo.base, machine: machine)
    }
    known = Array(p2m.entries)
    var present = PageSet(frames: known.count)
    for pfn in known.indices where confirmed(known[pfn], pfn) { present.insert(UInt64(pfn)) }
    return present
  }

  func assume(pages: UInt64) -> Bool { false }
  var pageTotal: UInt64 { 0 }
  func mapped() {}

  func change(since present: PageSet) throws(XenError) -> FrameMapChange {
    // Linux resets p2m_generation on every resume, so only a walk proves that the list did not move.
    if try !p2m.stillHolds(hypervisor, domain, sharedInfo: sharedInfo.base, machine: machine) {
      p2m = try LinearP2M(hypervisor, domain, sharedInfo: sharedInfo.base, machine: machine)
    }
    var change = FrameMapChange()
    let entries = p2m.entries
    if entries.count == known.count,
      known.withUnsafeBytes({ memcmp($0.baseAddress!, entries.baseAddress!, $0.count) }) == 0
    {
      return change
    }
    change.mappingsAreStale = true
    for pfn in 0..<max(entries.count, known.count) {
      let now = pfn < entries.count ? entries[pfn] : ~0
      guard pfn >= known.count || known[pfn] != now else { continue }
      if confirmed(now, pfn) { change.come.insert(UInt64(pfn)) } else { change.gone.insert(UInt64(pfn)) }
    }
    known = Array(entries)
    return change
  }

  func frames(of pfns: [UInt64]) -> [UInt64] { pfns.map { confirmedFrame(Int($0)) ?? 0 } }

  func pfn(ofMachineFrame frame: UInt64) -> UInt64? {
    guard let pfn = machine.frame(of: frame), pfn < p2m.count,
      p2m.machineFrame(of: Int(pfn), in: machine) == frame
    else { return nil }
    return pfn
  }

  /// The machine frame of a guest frame, if the host's table leads back to it.
  func confirmedFrame(_ pfn: Int) -> UInt64? {
    guard pfn < p2m.count, let frame = p2m.machineFrame(of: pfn, in: machine), confirmed(frame, pfn) else { return nil }
    return frame
  }

  /// Linux marks absent (~0), foreign (bit 63) and identity (bit 62) entries; all lie beyond RAM.
  private func confirmed(_ frame: UInt64, _ pfn: Int) -> Bool {
    frame != 0 && frame < machine.frameCount && machine.frame(of: frame) == UInt64(pfn)
  }

  /// The guest's frames that hold its p2m list, for the stream's X86_PV_P2M_FRAMES record.
  func listFrames() throws(XenError) -> [UInt64] {
    var frames: [UInt64] = []
    frames.reserveCapacity(p2m.leaves.count)
    for leaf in p2m.leaves {
      guard let pfn = pfn(ofMachineFrame: leaf) else {
        throw .guestData(domain: domain.id, "its p2m list lies in a page that is not its own")
      }
      frames.append(pfn)
    }
    return frames
  }
}
