import Glibc

/// The pages of a PV guest: its own p2m list, believed only where Xen's machine-to-physical table agrees.
final class PVFrameMap: FrameMap {
  private let hypervisor: Hypervisor
  private let domain: Domain
  private let machine: MachineToPhysical
  /// The shared info page, mapped as long as this object lives.
  let sharedInfo: ForeignMapping
  private(set) var p2m: LinearP2M
  /// Machine frame per frame number at the last scan; 0 where there is none.
  private var known: [UInt64] = []

  init(_ hypervisor: Hypervisor, _ domain: Domain) throws(XenError) {
    self.hypervisor = hypervisor
    self.domain = domain
    machine = try MachineToPhysical(hypervisor)
    sharedInfo = try ForeignMapping(hypervisor, domain: domain.id, frames: [domain.sharedInfoFrame])
    try sharedInfo.requireAll("the shared info page", domain: domain.id)
    p2m = try LinearP2M(hypervisor, domain, sharedInfo: sharedInfo.base, machine: machine)
  }

  func scan() throws(XenError) -> [GuestMemory.Chunk] {
    let size = GuestMemory.chunkFrames
    var chunks = [GuestMemory.Chunk](repeating: .init(), count: (p2m.count + size - 1) / size)
    known = [UInt64](repeating: 0, count: p2m.count)
    for pfn in 0..<p2m.count {
      guard let frame = confirmedFrame(pfn) else { continue }
      known[pfn] = frame
      chunks[pfn / size].pfns.append(UInt64(pfn))
      chunks[pfn / size].frames.append(frame)
    }
    return chunks
  }

  func mapped() {}

  func check() throws(XenError) -> FrameMapChange {
    // Linux resets p2m_generation on every resume, so only a walk proves that the list did not move.
    if try !p2m.stillHolds(hypervisor, domain, sharedInfo: sharedInfo.base, machine: machine) {
      p2m = try LinearP2M(hypervisor, domain, sharedInfo: sharedInfo.base, machine: machine)
      return .framesMoved
    }
    for pfn in 0..<p2m.count where (confirmedFrame(pfn) ?? 0) != known[pfn] { return .framesMoved }
    return .unchanged
  }

  func pfn(ofMachineFrame frame: UInt64) -> UInt64? {
    guard let pfn = machine.frame(of: frame), pfn < p2m.count,
      p2m.machineFrame(of: Int(pfn), in: machine) == frame
    else { return nil }
    return pfn
  }

  /// The machine frame of a guest frame, if the host's table leads back to it.
  func confirmedFrame(_ pfn: Int) -> UInt64? {
    guard let frame = p2m.machineFrame(of: pfn, in: machine), machine.frame(of: frame) == UInt64(pfn) else {
      return nil
    }
    return frame
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
