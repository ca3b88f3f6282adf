/// Page tables of a PV guest hold machine frames; a saved image must hold the guest's own frame numbers.
enum PageTables {
  private static let present: UInt64 = 1
  private static let superpage: UInt64 = 1 << 7
  private static let frameBits: UInt64 = 0x000F_FFFF_FFFF_F000

  /// What in a table cannot be expressed in the guest's own frames.
  enum Fault: Error, Equatable, CustomStringConvertible {
    case superpage(slot: Int)
    case foreignFrame(slot: Int, UInt64)

    var description: String {
      switch self {
      case .superpage(let slot): "its entry \(slot) maps a superpage"
      case .foreignFrame(let slot, let frame):
        "its entry \(slot) maps machine frame \(frame), which is no memory of the guest's: another guest's page, or a device"
      }
    }
  }

  /// Rewrites one copied page table in place, machine frames to the guest's frames.
  ///
  /// - Parameters:
  ///   - page: a private copy of 4096 bytes, never the live page: the guest could change it between check and use.
  ///   - level: 1 to 4 (64-bit guests).
  ///   - pfn: the guest's frame for a machine frame, nil when it is not the guest's.
  static func normalise(
    _ page: UnsafeMutableRawPointer, level: Int, pfn: (UInt64) -> UInt64?
  ) throws(Fault) {
    let entries = page.assumingMemoryBound(to: UInt64.self)
    for slot in 0..<512 {
      // Slots 256 to 271 of a level 4 table are Xen's own window (HYPERVISOR_VIRT_START).
      if level == 4, (256...271).contains(slot) {
        entries[slot] = 0
        continue
      }
      let entry = entries[slot]
      guard entry & present != 0 else { continue }
      if level >= 2, entry & superpage != 0 { throw .superpage(slot: slot) }
      let machineFrame = (entry & frameBits) >> 12
      guard let frame = pfn(machineFrame) else { throw .foreignFrame(slot: slot, machineFrame) }
      entries[slot] = entry & ~frameBits | frame << 12
    }
  }
}
