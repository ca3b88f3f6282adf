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
/// Pages are mapped for each copy and not read through that mapping again, so that it can never show a page that the guest
/// no longer has there. ``keepMapped()`` is for a guest without a log of dirty pages, whose whole memory is read in the pause;
/// what proves such a mapping current is in ``FrameMap``.
public final class GuestMemory: @unchecked Sendable {
  /// The most pages of one ``copy(_:running:to:)``; Xen's type query takes no more.
  public static let batchFrames = PageType.batch

  private let memory: any DomainMemory
  private let frameMap: any FrameMap
  private let spent: SpentMappings
  /// Kept mappings by frame number / ``batchFrames``, with the frames that they show.
  private var kept: [(frames: [UInt64], mapping: ForeignMapping)?] = []
  private var keepsMapped = false
  private let mappingMicroseconds = Atomic<Int>(0)

  /// The frame numbers that have a page, as of the last ``scan()`` or ``settle()``.
  public private(set) var present = PageSet()

  init(_ memory: some DomainMemory, frameMap: some FrameMap, spent: SpentMappings) {
    self.memory = memory
    self.frameMap = frameMap
    self.spent = spent
  }

  /// Finds out which frame numbers have a page, while the guest runs.
  public func scan() throws(XenError) {
    present = try frameMap.scan()
    spent.unmap()
  }

  /// Spares a PVH guest the scan, which asks for every frame number: takes what an earlier ``settle()`` found.
  ///
  /// - Parameter pages: ``pageTotal`` of that time.
  /// - Returns: false when the guest gave back or got memory since. Then a scan is due; and Xen's log of dirty pages does
  ///   not tell everything either: a page that came in the place of another one is logged only from the next collect on.
  public func assume(_ known: PageSet, pages: UInt64) throws(XenError) -> Bool {
    guard let present = try frameMap.assume(known, pages: pages) else { return false }
    self.present = present
    return true
  }

  /// Pages that Xen counted for the domain at the last scan or ``settle()``; 0 for PV.
  public var pageTotal: UInt64 { frameMap.pageTotal }

  /// Whether Xen counts other pages for the domain now; false for PV.
  public func hasResized() throws(XenError) -> Bool { try frameMap.hasResized() }

  /// Maps all pages that ``scan()`` found and keeps them mapped until ``release(forNextTake:)``.
  public func keepMapped() throws(XenError) {
    keepsMapped = true
    _ = try settleLive(anew: false)
  }

  /// What ``settle()`` would find, and map again, in the pause is found now, while the guest runs. Costs next to nothing when
  /// nothing moved.
  ///
  /// - Parameter anew: a page turned up that no scan had seen: scan whatever the signs say.
  /// - Returns: as ``settle()``.
  public func settleLive(anew: Bool) throws(XenError) -> (come: PageSet, gone: PageSet) {
    var (come, gone) = anew ? try settleAnew() : (PageSet(), PageSet())
    // A guest that balloons right now is followed a few times; if it goes on, the pause does the rest.
    for _ in 0..<3 {
      if keepsMapped { try frameMap.mapped(whole: mapAll()) }
      var step = try settle()
      let dropped = keepsMapped && kept.isEmpty
      // The guest is not suspended: what is done with may take its time to go.
      spent.unmap()
      if dropped {
        // The mappings that went had held pages in the count of the scan before.
        let more = try settleAnew()
        step.come.formUnion(more.come)
        step.come.subtract(more.gone)
        step.gone.subtract(more.come)
        step.gone.formUnion(more.gone)
      }
      come.formUnion(step.come)
      come.subtract(step.gone)
      gone.subtract(step.come)
      gone.formUnion(step.gone)
      if step.come.isEmpty, step.gone.isEmpty, !dropped { break }
    }
    return (come, gone)
  }

  /// - Returns: whether every page could be mapped.
  private func mapAll() throws(XenError) -> Bool {
    var batches = PageSet.Batches(present, byStretch: true)
    var (next, isWhole) = (0, true)
    while let pfns = batches.take() {
      let stretch = Int(pfns[0]) / GuestMemory.batchFrames
      while kept.count <= stretch { kept.append(nil) }
      // A stretch that the guest gave back whole: our references would keep it from the host.
      for empty in next..<stretch { kept[empty] = nil }
      next = stretch + 1
      let frames = frameMap.frames(of: pfns)
      if keptMapping(pfns, frames) == nil { kept[stretch] = (frames, try memory.map(frames)) }
      isWhole = isWhole && kept[stretch]!.mapping.isWhole
    }
    kept.removeSubrange(next...)
    return isWhole
  }

  /// Brings ``present`` up to date with the guest; once it is suspended, for good.
  ///
  /// - Returns: frame numbers that got a page, or another one, since the scan; and those that lost theirs.
  public func settle() throws(XenError) -> (come: PageSet, gone: PageSet) {
    let change = try frameMap.change(since: present)
    if change.mappingsAreStale { dropKept() }
    present.formUnion(change.come)
    present.subtract(change.gone)
    return (change.come, change.gone)
  }

  /// As ``settle()``, from a new scan: for a guest of which a page turned up that no scan had seen.
  public func settleAnew() throws(XenError) -> (come: PageSet, gone: PageSet) {
    let before = present
    present = try frameMap.scan()
    return (present.subtracting(before), before.subtracting(present))
  }

  private func dropKept() {
    for case (_, let mapping)? in kept { spent.add(mapping) }
    kept = []
  }

  /// Unmaps what copies of the suspended guest left mapped.
  public func unmapSpent() { spent.unmap() }

  /// Lets go of the guest's frames: the take is over, the guest runs.
  ///
  /// - Parameter forNextTake: there will be one, and what is mapped may stay so. For PV only, where the machine frame tells
  ///   whether a mapping is current; a PVH guest may exchange a page between two takes, and nothing would show it.
  public func release(forNextTake: Bool) {
    keepsMapped = false
    frameMap.letGo()
    if !forNextTake || !frameMap.mappingsOutlastTakes { dropKept() }
    spent.unmap()
  }

  /// Copies pages to `receiver`, page tables normalised in the copy. May be called on several threads at once.
  ///
  /// Of the suspended guest the pages stay mapped until ``unmapSpent()`` or ``release(forNextTake:)``.
  ///
  /// - Parameters:
  ///   - pfns: ascending, at most ``batchFrames``.
  ///   - running: the guest works meanwhile: a page table may be torn.
  /// - Returns: how many were dealt with; fewer than asked for when there was no room.
  /// - Throws: ``XenError/guestData(domain:_:)`` for a page of the suspended guest that cannot be saved; never skipped.
  public func copy(_ pfns: [UInt64], running: Bool, to receiver: some PageReceiver) throws(XenError) -> Int {
    let frames = frameMap.frames(of: pfns)
    let known = keptMapping(pfns, frames)
    let mapping = if let known { known } else { try map(frames) }
    // A running guest's page must not stay: one that it gives back would still count as its page.
    defer { if !running, known == nil { spent.add(mapping) } }
    var types = [UInt8](repeating: 0, count: pfns.count)
    try types.withUnsafeMutableBufferPointer { types throws(XenError) in
      try memory.types(of: frames, into: types)
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
          throw .guestData(domain: memory.domain, "its page \(pfn) could not be read")
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

  /// The kept mapping of exactly these frames, if there is one without holes: a frame that could not be mapped then may be the
  /// guest's by now.
  private func keptMapping(_ pfns: [UInt64], _ frames: [UInt64]) -> ForeignMapping? {
    guard let first = pfns.first, Int(first) / GuestMemory.batchFrames < kept.count,
      let known = kept[Int(first) / GuestMemory.batchFrames], known.frames == frames, known.mapping.isWhole
    else { return nil }
    return known.mapping
  }

  private func map(_ frames: [UInt64]) throws(XenError) -> ForeignMapping {
    let start = ContinuousClock.now
    let mapping = try memory.map(frames)
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
      throw .guestData(domain: memory.domain, "the level \(level) page table at page \(pfn) cannot be saved (\(error))")
    }
  }
}
