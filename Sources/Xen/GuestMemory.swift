import CXen
import Glibc
import Synchronization

/// Takes the pages that ``GuestMemory/copy(_:running:to:)`` finds. Pages come in ascending order of their numbers.
public protocol PageReceiver: AnyObject {
  /// Whether the epoch holds the page with this content and type already, so that it need not be copied.
  /// `page` may be live memory, which changes while it is read.
  func holds(_ pfn: UInt64, _ page: UnsafeRawPointer, type: UInt8) -> Bool
  /// Where the next page shall go, 4096 bytes; nil when there is no room.
  func room() -> UnsafeMutableRawPointer?
  /// The page whose room was asked for last is complete.
  func received(_ pfn: UInt64, type: UInt8)
  /// The guest has no page there, or one without content.
  func absent(_ pfn: UInt64)
  /// A page table caught in the middle of a change; only while the guest runs. It must be asked for again.
  func torn(_ pfn: UInt64)
}

/// The memory of one guest: which frame numbers have a page, and their content.
///
/// Pages are mapped for each copy and let go after it, so that a mapping can never show a page that the guest no longer
/// has there; ``keepMapped()`` is for a guest without a log of dirty pages, whose whole memory is read in the pause.
public final class GuestMemory: @unchecked Sendable {
  /// The most pages of one ``copy(_:running:to:)``; Xen's type query takes no more.
  public static let batchFrames = PageType.batch

  private let hypervisor: Hypervisor
  private let domain: UInt32
  private let frameMap: any FrameMap
  /// Kept mappings by frame number / ``batchFrames``, with the frames that they show.
  private var kept: [(frames: [UInt64], mapping: ForeignMapping)?] = []
  private let mappingMicroseconds = Atomic<Int>(0)

  /// The frame numbers that have a page, as of the last ``scan()`` or ``settle()``.
  public private(set) var present = PageSet()

  init(_ hypervisor: Hypervisor, domain: UInt32, frameMap: any FrameMap) {
    self.hypervisor = hypervisor
    self.domain = domain
    self.frameMap = frameMap
  }

  /// Finds out which frame numbers have a page, while the guest runs.
  public func scan() throws(XenError) { present = try frameMap.scan() }

  /// Spares a PVH guest the scan, which asks for every frame number: takes what an earlier ``settle()`` found, when the log of
  /// dirty pages reaches back to it. ``settle()`` then finds what changed since.
  ///
  /// - Parameter pages: ``pageTotal`` of that time.
  public func assume(_ known: PageSet, pages: UInt64) throws(XenError) {
    guard frameMap.assume(pages: pages) else { return try scan() }
    present = known
  }

  /// Pages that Xen counted for the domain at the last scan or ``settle()``; 0 for PV.
  public var pageTotal: UInt64 { frameMap.pageTotal }

  /// Maps all pages that ``scan()`` found and keeps them mapped. What is mapped already stays so where nothing moved.
  public func keepMapped() throws(XenError) {
    // A guest that balloons right now is mapped again a few times; if it goes on, the pause does it.
    for _ in 0..<3 {
      try mapAll()
      try frameMap.mapped()
      guard try frameMap.change(since: present).mappingsAreStale else { return }
      kept = []
      try scan()
    }
  }

  private func mapAll() throws(XenError) {
    var batches = PageSet.Batches(present, byStretch: true)
    while let pfns = batches.take() {
      let index = Int(pfns[0]) / GuestMemory.batchFrames
      while kept.count <= index { kept.append(nil) }
      let frames = frameMap.frames(of: pfns)
      if kept[index]?.frames == frames { continue }
      kept[index] = (frames, try ForeignMapping(hypervisor, domain: domain, frames: frames))
    }
  }

  /// Brings ``present`` up to date with the suspended guest.
  ///
  /// - Returns: frame numbers that got a page, or another one, since the scan; and those that lost theirs.
  public func settle() throws(XenError) -> (come: PageSet, gone: PageSet) {
    let change = try frameMap.change(since: present)
    // Without kept references the same number may be another page by now; the log of dirty pages tells of those.
    if change.mappingsAreStale { kept = [] }
    present.formUnion(change.come)
    present.subtract(change.gone)
    return (change.come, change.gone)
  }

  /// As ``settle()``, from a new scan: for a guest of which a page turned up that no scan had seen.
  public func settleAnew() throws(XenError) -> (come: PageSet, gone: PageSet) {
    let before = present
    try scan()
    return (present.subtracting(before), before.subtracting(present))
  }

  /// Lets go of all mappings, and with them of the guest's frames.
  public func release() { kept = [] }

  /// Copies pages to `receiver`, page tables normalised in the copy. May be called on several threads at once.
  ///
  /// - Parameters:
  ///   - pfns: ascending, at most ``batchFrames``.
  ///   - running: the guest works meanwhile: a page table may be torn.
  /// - Returns: how many were dealt with; fewer than asked for when there was no room.
  /// - Throws: ``XenError/guestData(domain:_:)`` for a page of the suspended guest that cannot be saved; never skipped.
  public func copy(_ pfns: [UInt64], running: Bool, to receiver: some PageReceiver) throws(XenError) -> Int {
    let frames = frameMap.frames(of: pfns)
    let mapping = try mapping(pfns, frames)
    var types = [UInt8](repeating: 0, count: pfns.count)
    try types.withUnsafeMutableBufferPointer { types throws(XenError) in
      try PageType.query(hypervisor, domain: domain, frames: frames, into: types)
    }
    for index in pfns.indices {
      let (pfn, type) = (pfns[index], types[index])
      guard frames[index] != 0 || pfn == 0, PageType.carriesData(type) else {
        receiver.absent(pfn)
        continue
      }
      guard mapping.isMapped(index) else {
        // A translated guest's page may have gone since the query, a running guest's as well.
        guard running || frames[index] == pfn else {
          throw .guestData(domain: domain, "its page \(pfn) could not be read")
        }
        receiver.absent(pfn)
        continue
      }
      let page = mapping.page(index)
      guard PageType.tableLevel(type) != nil || !receiver.holds(pfn, page, type: type) else { continue }
      guard let target = receiver.room() else { return index }
      memcpy(target, page, pageSize)
      if let level = PageType.tableLevel(type) {
        guard try normalise(target, pfn, level: level, running: running) else {
          receiver.torn(pfn)
          continue
        }
        if receiver.holds(pfn, target, type: type) { continue }
      }
      receiver.received(pfn, type: type)
    }
    return pfns.count
  }

  private func mapping(_ pfns: [UInt64], _ frames: [UInt64]) throws(XenError) -> ForeignMapping {
    if let first = pfns.first, Int(first) / GuestMemory.batchFrames < kept.count,
      let known = kept[Int(first) / GuestMemory.batchFrames], known.frames == frames
    {
      return known.mapping
    }
    let start = ContinuousClock.now
    let mapping = try ForeignMapping(hypervisor, domain: domain, frames: frames)
    let took = (ContinuousClock.now - start).components
    mappingMicroseconds.wrappingAdd(Int(took.attoseconds / 1_000_000_000_000), ordering: .relaxed)
    return mapping
  }

  /// Milliseconds that ``copy(_:running:to:)`` spent on mapping pages so far, over all threads.
  public var mappingMs: Double { Double(mappingMicroseconds.load(ordering: .relaxed)) / 1000 }

  private func normalise(
    _ table: UnsafeMutableRawPointer, _ pfn: UInt64, level: Int, running: Bool
  ) throws(XenError) -> Bool {
    do {
      try PageTables.normalise(table, level: level) { frameMap.pfn(ofMachineFrame: $0) }
      return true
    } catch {
      if running { return false }
      throw .guestData(domain: domain, "the level \(level) page table at page \(pfn) cannot be saved (\(error))")
    }
  }
}
