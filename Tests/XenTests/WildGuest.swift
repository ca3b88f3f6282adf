@testable import Xen

/// A PV guest whose list of frames, and all that leads to it, stands in memory that a test writes as a hostile kernel could.
///
/// Its frames 0 to 1023 are machine frames 1000 to 2023 of a host that has 8192. The list takes its frames 10 and 11, the page
/// tables that lead there its frames 12 (level 4) to 15 (level 1).
final class WildGuest {
  static let sharedInfo: UInt64 = 50
  static let root: UInt64 = 1012
  let domain = FakeDomain()
  /// The host's table from machine frames to the owners' own.
  let machine = UnsafeMutableBufferPointer<UInt>.allocate(capacity: 8192)
  let spent = SpentMappings()

  init() {
    machine.initialize(repeating: 0xBAD_BAD)
    for pfn in UInt64(0)..<1024 {
      domain.put(1000 + pfn, pfn)
      machine[Int(1000 + pfn)] = UInt(pfn)
    }
    domain.put(Self.sharedInfo, 0)
    say(count: 1024, cr3: Self.root << 12, address: 0xffff_c900_0000_0000)
    // Bits 39 to 47 of the address are 402, all below are 0.
    domain.write(Self.root, 0, 0)
    domain.write(Self.root, 402, 1013 << 12 | 1)
    domain.write(1013, 0, 1014 << 12 | 1)
    domain.write(1014, 0, 1015 << 12 | 1)
    domain.write(1015, 0, 1010 << 12 | 1)
    domain.write(1015, 1, 1011 << 12 | 1)
    for pfn in 0..<1024 { list(pfn, 1000 + UInt64(pfn)) }
  }

  deinit { machine.deallocate() }

  /// Writes the words of the shared info page: `arch` at 3088, max_pfn first, p2m_cr3 at +24, p2m_vaddr at +32.
  func say(count: UInt64? = nil, cr3: UInt64? = nil, address: UInt64? = nil) {
    for (place, value) in [(3088, count), (3112, cr3), (3120, address)] {
      if let value { domain.write(Self.sharedInfo, place / 8, value) }
    }
  }

  /// Writes an entry of the list.
  func list(_ pfn: Int, _ entry: UInt64) { domain.write(1010 + UInt64(pfn / 512), pfn % 512, entry) }

  /// What a take makes of it.
  func map() throws(XenError) -> PVFrameMap {
    // The table lives as long as what is asked of it.
    let table = MachineToPhysical(UnsafeBufferPointer(machine)) { [self] in _ = self }
    return try PVFrameMap(domain, domain.space, table, sharedInfoFrame: Self.sharedInfo, spent)
  }
}
