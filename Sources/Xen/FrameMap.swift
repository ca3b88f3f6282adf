/// Where a guest's pages are, in the way of its kind (PV or PVH).
protocol FrameMap: AnyObject {
  /// The frame numbers that have a page now.
  func scan() throws(XenError) -> PageSet
  /// Goes on from an earlier scan that found `present`, when Xen counted so many pages.
  ///
  /// - Returns: the frame numbers that have a page now; nil when only a scan can tell.
  func assume(_ present: PageSet, pages: UInt64) throws(XenError) -> PageSet?
  /// Pages that Xen counted at the last scan or change; 0 where no count is needed.
  var pageTotal: UInt64 { get }
  /// Whether Xen counts another number now; false where no count is needed.
  func hasResized() throws(XenError) -> Bool
  /// A mapping of the same ``frames(of:)`` shows the same pages, however long ago it was made.
  var mappingsOutlastTakes: Bool { get }
  /// Every page of the last scan is mapped now and stays so; what ``change(since:)`` proves of mappings begins here.
  ///
  /// - Parameter whole: each of them could be mapped.
  func mapped(whole: Bool) throws(XenError)
  /// The take is over: what was mapped for its pause goes.
  func letGo()
  /// Compares the guest with the last scan, or the last change.
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
  /// Mappings made before may show pages that the guest no longer has there, although ``FrameMap/frames(of:)`` is as before.
  var mappingsAreStale = false
}
