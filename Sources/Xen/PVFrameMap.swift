import CXen
import Glibc

/// The pages of a PV guest: its own p2m list, believed only where Xen's machine-to-physical table agrees.
final class PVFrameMap: FrameMap {
  private let source: LinearP2M.Source
  private var machine: MachineToPhysical { source.machine }
  /// The shared info page, mapped as long as this object lives.
  var sharedInfo: ForeignMapping { source.sharedInfo }
  private(set) var p2m: LinearP2M
  /// The list as it stood at the last scan or change.
  private var known: [UInt64] = []

  /// - Parameter sharedInfoFrame: machine frame of the shared info page.
  init(
    _ memory: any DomainMemory, _ space: FrameSpace, _ machine: MachineToPhysical, sharedInfoFrame: UInt64,
    _ spent: SpentMappings
  ) throws(XenError) {
    let sharedInfo = try memory.map([sharedInfoFrame])
    try sharedInfo.requireAll("the shared info page", domain: memory.domain)
    source = LinearP2M.Source(
      memory: memory, space: space, machine: machine, sharedInfo: sharedInfo, walked: WalkedTables(), spent: spent)
    p2m = try LinearP2M(source)
  }

  /// Finds the list where it lies now. Linux resets p2m_generation on every resume, so only a walk proves that it did not move.
  private func follow() throws(XenError) {
    guard try !p2m.stillHolds(source) else { return }
    let moved = try LinearP2M(source)
    source.spent.add(p2m)
    p2m = moved
  }

  func scan() throws(XenError) -> PageSet {
    try follow()
    known = Array(p2m.entries)
    var present = PageSet(frames: known.count)
    for pfn in known.indices where confirmed(known[pfn], pfn) { present.insert(UInt64(pfn)) }
    return present
  }

  // The list tells it all, and reading it costs next to nothing.
  func assume(_ present: PageSet, pages: UInt64) throws(XenError) -> PageSet? { try scan() }
  var pageTotal: UInt64 { 0 }
  func hasResized() -> Bool { false }

  /// A mapping of a machine frame holds a reference on it: however long it stands, the frame is this guest's and no other
  /// page. So a mapping shows what the guest has at a frame number as long as the list and Xen's table name the same
  /// machine frame for it.
  var mappingsOutlastTakes: Bool { true }
  func letGo() { source.walked.letGo(into: source.spent) }
  func mapped(whole: Bool) {}

  func change(since present: PageSet) throws(XenError) -> FrameMapChange {
    try follow()
    var change = FrameMapChange()
    let list = p2m.entries
    if list.count == known.count,
      known.withUnsafeBytes({ memcmp($0.baseAddress!, list.baseAddress!, $0.count) }) == 0
    {
      return change
    }
    // A copy: the guest may run, and an entry that it writes between two looks would never be told of.
    let entries = Array(list)
    for pfn in 0..<max(entries.count, known.count) {
      let now = pfn < entries.count ? entries[pfn] : ~0
      guard pfn >= known.count || known[pfn] != now else { continue }
      if confirmed(now, pfn) { change.come.insert(UInt64(pfn)) } else { change.gone.insert(UInt64(pfn)) }
    }
    known = entries
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
        throw .guestData(domain: source.memory.domain, "its p2m list lies in a page that is not its own")
      }
      frames.append(pfn)
    }
    return frames
  }
}
