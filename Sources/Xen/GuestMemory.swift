import CXen
import Glibc

/// All memory of one guest, mapped before the pause and copied within it.
///
/// Mapping is the slow half of reading a guest (one page-table update per page), so it is done while the guest
/// runs. What the map says may be out of date at the pause; ``freeze()`` proves it page by page and maps anew
/// only what moved. Pages are kept in chunks of 1024 frame numbers, so a page that comes or goes touches one chunk.
public final class GuestMemory: @unchecked Sendable {
  /// Frame numbers per chunk, and the most that one type query takes.
  static let chunkFrames = PageType.batch

  struct Chunk {
    /// The guest's frame numbers present here, ascending.
    var pfns: [UInt64] = []
    /// What to map for each: machine frames for PV, the frame numbers themselves for PVH.
    var frames: [UInt64] = []
    var mapping: ForeignMapping?
    /// Where the chunk's first page stands among all pages.
    var start = 0
  }

  private let hypervisor: Hypervisor
  private let domain: UInt32
  private let frameMap: any FrameMap
  private var chunks: [Chunk] = []

  /// Number of pages found by the last ``prepare()`` or ``freeze()``.
  public private(set) var pageCount = 0

  init(_ hypervisor: Hypervisor, domain: UInt32, frameMap: any FrameMap) {
    self.hypervisor = hypervisor
    self.domain = domain
    self.frameMap = frameMap
  }

  /// Chunks to copy, each on its own and on any thread.
  public var chunkCount: Int { chunks.count }

  /// Maps the whole guest while it runs.
  public func prepare() throws(XenError) {
    try rebuild(keepingMappings: false)
    // A guest that balloons right now is mapped again a few times; if it goes on, the pause does it.
    for _ in 0..<3 where try frameMap.check() == .untrusted { try rebuild(keepingMappings: false) }
  }

  /// Brings the map up to date with the suspended guest: within the pause.
  ///
  /// - Returns: how many pages had to be mapped anew.
  public func freeze() throws(XenError) -> Int {
    switch try frameMap.check() {
    case .unchanged: return 0
    case .framesMoved: return try rebuild(keepingMappings: true)
    case .untrusted: return try rebuild(keepingMappings: false)
    }
  }

  /// Lets go of all mappings, and with them of the guest's frames.
  public func release() {
    chunks = []
    pageCount = 0
  }

  @discardableResult
  private func rebuild(keepingMappings: Bool) throws(XenError) -> Int {
    let old = chunks
    var fresh = try frameMap.scan()
    var mappedPages = 0
    var start = 0
    for index in fresh.indices {
      fresh[index].start = start
      start += fresh[index].pfns.count
      if keepingMappings, index < old.count, old[index].frames == fresh[index].frames,
        old[index].pfns == fresh[index].pfns
      {
        fresh[index].mapping = old[index].mapping
      } else if !fresh[index].frames.isEmpty {
        fresh[index].mapping = try ForeignMapping(hypervisor, domain: domain, frames: fresh[index].frames)
        mappedPages += fresh[index].frames.count
      }
    }
    chunks = fresh
    pageCount = start
    try frameMap.mapped()
    return mappedPages
  }

  /// Writes the frame number of every page, in the order in which ``copy(chunk:to:types:)`` places them.
  public func writePFNs(to pfns: UnsafeMutableBufferPointer<UInt64>) {
    for chunk in chunks {
      for (offset, pfn) in chunk.pfns.enumerated() { pfns[chunk.start + offset] = pfn }
    }
  }

  /// Copies one chunk of the suspended guest: page i of the guest goes to `pages + i * 4096`, its type to `types[i]`.
  ///
  /// Page tables are normalised in the copy. A page whose type carries no data leaves its place untouched.
  /// - Throws: ``XenError/guestData(domain:_:)`` for a page table that cannot be expressed; never skipped.
  public func copy(
    chunk index: Int, to pages: UnsafeMutableRawPointer, types: UnsafeMutableBufferPointer<UInt8>
  ) throws(XenError) {
    let chunk = chunks[index]
    guard let mapping = chunk.mapping else { return }
    let own = UnsafeMutableBufferPointer(rebasing: types[chunk.start..<chunk.start + chunk.pfns.count])
    try PageType.query(hypervisor, domain: domain, frames: chunk.frames, into: own)
    let target = pages + chunk.start * pageSize
    var page = 0
    while page < own.count {
      // Ordinary pages mostly stand in long runs; one copy for each run.
      var end = page
      while end < own.count, own[end] == PageType.ordinary, mapping.isMapped(end) { end += 1 }
      if end > page {
        memcpy(target + page * pageSize, mapping.page(page), (end - page) * pageSize)
        page = end
        continue
      }
      if PageType.carriesData(own[page]) {
        try copySingle(chunk, page, mapping, own[page], to: target + page * pageSize)
      }
      page += 1
    }
  }

  private func copySingle(
    _ chunk: Chunk, _ page: Int, _ mapping: ForeignMapping, _ type: UInt8, to target: UnsafeMutableRawPointer
  ) throws(XenError) {
    guard mapping.isMapped(page) else {
      throw .guestData(domain: domain, "its page \(chunk.pfns[page]) could not be read")
    }
    memcpy(target, mapping.page(page), pageSize)
    guard let level = PageType.tableLevel(type) else { return }
    do {
      try PageTables.normalise(target, level: level) { frameMap.pfn(ofMachineFrame: $0) }
    } catch {
      throw .guestData(
        domain: domain, "the level \(level) page table at page \(chunk.pfns[page]) cannot be saved (\(error))")
    }
  }
}

/// Where a guest's pages are, in the way of its kind (PV or PVH).
protocol FrameMap: AnyObject {
  /// The guest's pages now, one chunk for each ``GuestMemory/chunkFrames`` frame numbers.
  func scan() throws(XenError) -> [GuestMemory.Chunk]
  /// All pages of the last scan are mapped now.
  func mapped() throws(XenError)
  /// Compares the suspended guest with the last scan.
  func check() throws(XenError) -> FrameMapChange
  /// The guest's frame for a machine frame that its page tables name, nil when it is not the guest's.
  func pfn(ofMachineFrame frame: UInt64) -> UInt64?
}

enum FrameMapChange {
  case unchanged
  /// Some frames differ; where a chunk names the same frames as before, its mapping is good.
  case framesMoved
  /// The same frame number may mean another page by now: map everything anew.
  case untrusted
}
