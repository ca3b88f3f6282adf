import CXen
import Glibc

/// A PV guest's own table from its frame numbers to machine frames (the linear p2m list), mapped read-only.
///
/// The guest keeps it in its memory and anchors it in the shared info page (public/arch-x86/xen.h,
/// `arch_shared_info`: max_pfn, p2m_cr3, p2m_vaddr). Everything here is guest data that may change while it is
/// read: bounded before use, copied before it is checked.
final class LinearP2M: @unchecked Sendable {
  /// Number of entries: the guest's frames are 0 up to one below it.
  let count: Int
  /// Machine frames of the pages that hold the list, in order.
  let leaves: [UInt64]
  private let mapping: ForeignMapping

  /// Where the list is found, and what bounds it.
  struct Source {
    let memory: any DomainMemory
    let space: FrameSpace
    let machine: MachineToPhysical
    /// The guest's shared info page.
    let sharedInfo: ForeignMapping
    /// The tables of the last walk.
    let walked: WalkedTables
    let spent: SpentMappings
  }

  private static let entriesPerPage = pageSize / 8

  /// - Throws: ``XenError/unsupported(domain:_:)`` for a guest with only the legacy three-level list,
  ///   ``XenError/guestData(domain:_:)`` for one that contradicts itself.
  init(_ source: Source) throws(XenError) {
    let anchor = try LinearP2M.anchor(source.sharedInfo.base, source.space)
    let leaves = try LinearP2M.walk(source, anchor)
    mapping = try source.memory.map(leaves)
    try mapping.requireAll("the p2m list", domain: source.memory.domain)
    self.leaves = leaves
    count = anchor.count
  }

  /// The machine frame that the guest names for its frame, or nil where it has none.
  ///
  /// Linux marks absent (~0), foreign (bit 63) and identity (bit 62) entries; all lie beyond RAM.
  func machineFrame(of pfn: Int, in machine: MachineToPhysical) -> UInt64? {
    let entry = mapping.word(at: pfn &* 8)
    return entry < machine.frameCount && entry != 0 ? entry : nil
  }

  /// Whether the upper levels still lead to the same pages.
  func stillHolds(_ source: Source) throws(XenError) -> Bool {
    let anchor = try LinearP2M.anchor(source.sharedInfo.base, source.space)
    guard anchor.count == count else { return false }
    return try LinearP2M.walk(source, anchor) == leaves
  }

  /// The list as it stands, entry for entry.
  var entries: UnsafeBufferPointer<UInt64> {
    UnsafeBufferPointer(start: mapping.base.assumingMemoryBound(to: UInt64.self), count: count)
  }

  struct Anchor {
    let count: Int
    let root: UInt64
    let address: UInt64
  }

  /// Reads the four words once each and bounds them.
  static func anchor(_ sharedInfo: UnsafeRawPointer, _ space: FrameSpace) throws(XenError) -> Anchor {
    let arch = MemoryLayout<shared_info_t>.offset(of: \shared_info_t.arch)!
    func word(_ path: PartialKeyPath<arch_shared_info_t>) -> UInt64 {
      ForeignMapping.word(sharedInfo + arch + MemoryLayout<arch_shared_info_t>.offset(of: path)!)
    }
    let count = word(\.max_pfn)
    let cr3 = word(\.p2m_cr3)
    let address = word(\.p2m_vaddr)
    guard cr3 != 0 else {
      throw .unsupported(
        domain: space.domain,
        "its kernel keeps only the legacy p2m tree; a kernel with the linear list (Linux 3.19 or later) is needed")
    }
    let frames = try space.checked(count)
    let end = address &+ (count + 511) / 512 * UInt64(pageSize)
    let highHalf: UInt64 = 0xFFFF_8800_0000_0000
    guard address % UInt64(pageSize) == 0, end > address,
      end <= 0x0000_8000_0000_0000 || address >= highHalf
    else { throw .guestData(domain: space.domain, "its p2m list has no valid address") }
    return Anchor(count: frames, root: (cr3 & 0x000F_FFFF_FFFF_F000) >> 12, address: address)
  }

  /// Follows the guest's own page tables, level 4 down to 1, to the machine frames of the list.
  private static func walk(_ source: Source, _ anchor: Anchor) throws(XenError) -> [UInt64] {
    let (domain, machine) = (source.memory.domain, source.machine)
    let first = anchor.address & 0x0000_FFFF_FFFF_FFFF
    let last = first + UInt64((anchor.count + entriesPerPage - 1) / entriesPerPage * pageSize) - 1
    var tables = [anchor.root]
    guard anchor.root != 0, anchor.root < machine.frameCount else {
      throw .guestData(domain: domain, "the root of its p2m list is no frame of this host")
    }
    for level in stride(from: 4, through: 1, by: -1) {
      let shift = UInt64(9 * level + 3)
      let mapping = try source.walked.mapping(of: tables, level, source)
      let indices = (first >> shift)...(last >> shift)
      var next: [UInt64] = []
      next.reserveCapacity(indices.count)
      for index in indices {
        let table = Int(index / 512 - indices.lowerBound / 512)
        let entry = mapping.word(at: table * pageSize + Int(index % 512) * 8)
        let frame = (entry & 0x000F_FFFF_FFFF_F000) >> 12
        guard entry & 1 == 1, frame != 0, frame < machine.frameCount else {
          throw .guestData(domain: domain, "its p2m list has a hole at level \(level)")
        }
        next.append(frame)
      }
      tables = next
    }
    return tables
  }
}

/// The page tables of the last walk to a p2m list, which stay mapped until the take ends: the walk in the pause mostly takes the same
/// way, and need not map them again. Such a mapping shows what is in the machine frame now.
final class WalkedTables {
  private var levels: [Int: (frames: [UInt64], mapping: ForeignMapping)] = [:]

  fileprivate func mapping(
    of frames: [UInt64], _ level: Int, _ source: LinearP2M.Source
  ) throws(XenError) -> ForeignMapping {
    if let known = levels[level], known.frames == frames { return known.mapping }
    let mapping = try source.memory.map(frames)
    if let old = levels.updateValue((frames, mapping), forKey: level) { source.spent.add(old.mapping) }
    do { try mapping.requireAll("a level \(level) table of its p2m list", domain: source.memory.domain) } catch {
      letGo(into: source.spent)
      throw error
    }
    return mapping
  }

  func letGo(into spent: SpentMappings) {
    for level in levels.values { spent.add(level.mapping) }
    levels = [:]
  }
}
