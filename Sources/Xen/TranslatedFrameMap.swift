/// The pages of a PVH guest: Xen itself keeps the map, and its type query tells holes from memory.
///
/// Xen does not say when a frame number got another page. It counts the guest's pages, and that tells, in two ways:
/// as long as nobody holds mappings, an equal count says that nothing came or went (or as much of each: what came unseen
/// is found when it is copied); with every page mapped, an equal count says that no page was exchanged, see ``change(since:)``.
final class TranslatedFrameMap: FrameMap {
  private let memory: any DomainMemory
  /// Pages that Xen counted before the last scan; nil when that scan is known to be out of date.
  private var pagesAtScan: UInt64?
  /// The same number, once everything that the scan found is mapped.
  private var pagesWhenMapped: UInt64?

  init(_ memory: any DomainMemory) { self.memory = memory }

  func scan() throws(XenError) -> PageSet {
    let pages = try memory.pages()
    (pagesAtScan, pagesWhenMapped) = (nil, nil)
    let frameCount = try memory.frameCount()
    // Every frame number, holes too: the guest may put memory anywhere, and pages of Xen's own that it mapped (shared info,
    // grant table) are found as well, so that no count tells when all are found.
    let size = GuestMemory.batchFrames
    var present = PageSet(frames: frameCount)
    var types = [UInt8](repeating: 0, count: size)
    for first in stride(from: 0, to: frameCount, by: size) {
      let frames = (first..<min(first + size, frameCount)).map { UInt64($0) }
      try types.withUnsafeMutableBufferPointer { types throws(XenError) in
        try memory.types(of: frames, into: types)
      }
      for (frame, type) in zip(frames, types) where PageType.carriesData(type) { present.insert(frame) }
    }
    pagesAtScan = pages
    return present
  }

  func assume(_ present: PageSet, pages: UInt64) throws(XenError) -> PageSet? {
    guard try memory.pages() == pages else { return nil }
    pagesAtScan = pages
    pagesWhenMapped = nil
    return present
  }

  var pageTotal: UInt64 { pagesAtScan ?? 0 }
  func hasResized() throws(XenError) -> Bool { try memory.pages() != pagesAtScan }

  /// What is mapped is only a frame number, and between two takes nobody watches the count.
  var mappingsOutlastTakes: Bool { false }
  func letGo() {}

  func mapped(whole: Bool) throws(XenError) {
    // A count that moved, or a page that could not be mapped: the scan came too early.
    let pages = try memory.pages()
    if !whole || pages != pagesAtScan { pagesAtScan = nil }
    pagesWhenMapped = pagesAtScan
  }

  /// Mappings hold a reference on every page, so a page that the guest gave back stays in Xen's count, and a new
  /// one in its place raises it: an equal count proves that no mapped frame number changed its page.
  func change(since known: PageSet) throws(XenError) -> FrameMapChange {
    let pages = try memory.pages()
    if pages == pagesAtScan { return FrameMapChange(mappingsAreStale: pages != pagesWhenMapped) }
    let present = try scan()
    return FrameMapChange(
      come: present.subtracting(known), gone: known.subtracting(present), mappingsAreStale: true)
  }

  func frames(of pfns: [UInt64]) -> [UInt64] { pfns }

  func pfn(ofMachineFrame frame: UInt64) -> UInt64? { nil }
}
