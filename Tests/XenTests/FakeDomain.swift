import Glibc

@testable import Xen

/// A domain's memory as the hypervisor keeps it: pages that mappings show live, and that stay as long as one does.
final class FakeDomain: DomainMemory, @unchecked Sendable {
  private struct Page {
    var mappings = 0
    var isOwned = true
  }
  let domain: UInt32 = 7
  let space = FrameSpace(domain: 7, mostKiB: 1 << 20)
  var claimedFrames: UInt64 = 4096
  private let stream = tmpfile()!
  private var file: Int32 { fileno(stream) }
  private var pageList: [Page] = []
  /// Which page is at a frame number.
  private var frames: [UInt64: Int] = [:]

  // What was asked.
  private(set) var queries = 0
  private(set) var mapCalls = 0
  var mapped: Int { pageList.reduce(0) { $0 + $1.mappings } }
  /// What the guest does at each type query.
  var whileQueried: (FakeDomain) -> Void = { _ in }
  /// Pages of another type than ordinary ones.
  var types: [UInt64: UInt8] = [:]

  deinit { fclose(stream) }

  /// Puts a new page at a frame number; one that was there is given back.
  func put(_ frame: UInt64, _ value: UInt64) {
    remove(frame)
    frames[frame] = pageList.count
    ftruncate(file, (pageList.count + 1) * pageSize)
    pageList.append(Page())
    write(frame, 0, value)
  }

  /// Writes a word of a page that is there.
  func write(_ frame: UInt64, _ word: Int, _ value: UInt64) {
    var value = value
    pwrite(file, &value, 8, frames[frame]! * pageSize + word * 8)
  }

  func remove(_ frame: UInt64) {
    if let page = frames.removeValue(forKey: frame) { pageList[page].isOwned = false }
  }

  func forgetWhatWasAsked() { (queries, mapCalls) = (0, 0) }

  func pages() -> UInt64 { UInt64(pageList.count { $0.isOwned || $0.mappings > 0 }) }
  func frameCount() throws(XenError) -> Int { try space.checked(claimedFrames) }

  func types(of frames: [UInt64], into types: UnsafeMutableBufferPointer<UInt8>) {
    queries += 1
    for (index, frame) in frames.enumerated() {
      types[index] = self.frames[frame] == nil ? PageType.invalid : self.types[frame] ?? PageType.ordinary
    }
    whileQueried(self)
  }

  func map(_ frames: [UInt64]) -> ForeignMapping {
    mapCalls += 1
    let base = mmap(nil, frames.count * pageSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)!
    var shown: [Int] = []
    var errors: [Int32] = []
    for (index, frame) in frames.enumerated() {
      let page = self.frames[frame]
      errors.append(page == nil ? -EINVAL : 0)
      guard let page else { continue }
      mmap(base + index * pageSize, pageSize, PROT_READ, MAP_SHARED | MAP_FIXED, file, page * pageSize)
      pageList[page].mappings += 1
      shown.append(page)
    }
    return ForeignMapping(base: base, errors: errors) { [self] base, count in
      munmap(base, count * pageSize)
      for page in shown { pageList[page].mappings -= 1 }
    }
  }
}

/// The list of a PV guest, from frame numbers to the frames of a ``FakeDomain``.
final class FakeList: FrameMap {
  var list: [UInt64: UInt64] = [:]
  private var known: [UInt64: UInt64] = [:]

  func scan() -> PageSet {
    known = list
    return PageSet(known.keys)
  }
  func assume(_ present: PageSet, pages: UInt64) -> PageSet? { scan() }
  let pageTotal: UInt64 = 0
  func hasResized() -> Bool { false }
  let mappingsOutlastTakes = true
  func letGo() {}
  func mapped(whole: Bool) {}
  func change(since present: PageSet) -> FrameMapChange {
    defer { known = list }
    return FrameMapChange(
      come: PageSet(list.filter { known[$0.key] != $0.value }.keys),
      gone: PageSet(known.keys.filter { list[$0] == nil }))
  }
  func frames(of pfns: [UInt64]) -> [UInt64] { pfns.map { list[$0] ?? 0 } }
  func pfn(ofMachineFrame frame: UInt64) -> UInt64? { nil }
}

/// The first word of each page that was copied.
final class FakeReceiver: PageReceiver {
  private let buffer = UnsafeMutableRawPointer.allocate(byteCount: pageSize, alignment: 8)
  private(set) var pages: [UInt64: UInt64] = [:]
  private(set) var missing: [UInt64] = []
  private(set) var torn: [UInt64] = []

  deinit { buffer.deallocate() }
  func holds(_ pfn: UInt64, _ page: UnsafeRawPointer, type: UInt8) -> Bool { false }
  func room() -> UnsafeMutableRawPointer? { buffer }
  func received(_ pfn: UInt64, type: UInt8) { pages[pfn] = buffer.load(as: UInt64.self) }
  func absent(_ pfn: UInt64) { missing.append(pfn) }
  func torn(_ pfn: UInt64) { torn.append(pfn) }
}
