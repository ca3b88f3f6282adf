/// Where a guest's pages are, in the way of its kind (PV or PVH).
protocol FrameMap: AnyObject {
  /// The frame numbers that have a page now.
  func scan() throws(XenError) -> PageSet
  /// Goes on from an earlier scan, at which Xen counted so many pages; false when a scan costs nothing anyway.
  func assume(pages: UInt64) -> Bool
  var pageTotal: UInt64 { get }
  /// Every page of the last scan is mapped now and stays so; what ``change(since:)`` proves of mappings begins here.
  func mapped() throws(XenError)
  /// Compares the suspended guest with the last scan, or the last change.
  func change(since known: PageSet) throws(XenError) -> FrameMapChange
  /// What to map for each frame number: machine frames for PV, 0 where there is none; the numbers themselves for PVH.
  func frames(of pfns: [UInt64]) -> [UInt64]
  /// The guest's frame for a machine frame that its page tables name, nil when it is not the guest's.
  func pfn(ofMachineFrame frame: UInt64) -> UInt64?
}

/// What became of a guest's frame numbers.
struct FrameMapChange {
  /// Frame numbers that have a page now and had none, or another.
  var come = PageSet()
  /// Frame numbers that have no page any more.
  var gone = PageSet()
  /// Mappings made before may show pages that the guest no longer has there.
  var mappingsAreStale = false
}
