import EpochStore
import FoundationEssentials
import Xen

/// The pages that a guest writes as it freezes, nearly the same ones each time: its tasks' states and stacks, its devices, its timers.
///
/// A live copy empties the log of dirty pages, for which Xen write-protects all memory. A PVH guest then takes a fault at each of these
/// pages while it freezes, and so within the pause. Right before the request their protection is therefore taken off, and they are marked
/// as written, so that the pause copies them whether they were or not.
///
/// What takes learn is kept in the guest's folder. It is no more than a hint: a wrong page costs a copy, a missing one a fault.
struct FreezePages: Codable, Equatable {
  /// Of the take that comes, below ``turns``.
  private(set) var turn: UInt64 = 0
  /// Written in more than one freeze, ascending.
  private(set) var expected: [UInt64] = []
  /// Written in the last freeze, and not expected, ascending.
  private(set) var seen: [UInt64] = []

  /// 16 MiB for the pause to copy; Linux with 50 tasks writes about 300 pages.
  static let most = 4096
  /// Whether a page without protection was written cannot be seen. So one in sixteen keeps it, others in each take, and is given up when
  /// the freeze did not write it.
  static let turns: UInt64 = 16

  /// Whatever a file says, only pages that the guest has.
  mutating func forget(outside present: PageSet) {
    expected.removeAll { !present.contains($0) }
    seen.removeAll { !present.contains($0) }
  }

  /// The pages whose protection is to be taken off in this take.
  func toUnprotect(atMost room: Int) -> PageSet {
    PageSet(expected.filter { $0 % Self.turns != turn }.prefix(room))
  }

  /// - Parameters:
  ///   - unprotected: the pages whose protection was taken off in this take.
  ///   - written: the other pages that were first written during its freeze.
  mutating func learn(unprotected: PageSet, written: PageSet) {
    var known = PageSet(expected)
    known.formUnion(PageSet(seen))
    let isNew = written.subtracting(known)
    var stays = unprotected
    stays.formUnion(written.subtracting(isNew))
    turn = (turn + 1) % Self.turns
    expected = Array(stays.pfns.prefix(Self.most))
    seen = Array(isNew.pfns.prefix(Self.most))
  }
}

extension GuestFolder {
  private var freezePath: String { path + "/freeze" }

  /// Nothing was learned yet when the file is missing, or cannot be read.
  var freezePages: FreezePages {
    guard let bytes = try? SmallFile.read(freezePath),
      let pages = try? JSONDecoder().decode(FreezePages.self, from: Data(bytes)), pages.turn < FreezePages.turns
    else { return FreezePages() }
    return pages
  }

  func setFreezePages(_ pages: FreezePages) {
    guard let data = try? JSONEncoder().encode(pages) else { preconditionFailure("numbers always encode") }
    try? SmallFile.replace(freezePath, with: Array(data))
  }
}

extension Take {
  /// What is known of a freeze before it.
  struct FreezeStart {
    let pages: FreezePages
    let unprotected: PageSet
    /// In the log before the request; those pages are among them.
    let written: PageSet
  }

  /// The last thing before the request: whatever empties the log protects these pages again.
  func easeFreeze(_ staging: Staging) throws -> FreezeStart? {
    guard tracking.hasLog, guest.identity.kind == .pvh else { return nil }
    var pages = folder.freezePages
    pages.forget(outside: guest.present)
    let unprotected = guest.unprotect(pages.toUnprotect(atMost: staging.capacity / 8))
    return FreezeStart(pages: pages, unprotected: unprotected, written: try tracking.peek())
  }

  /// - Parameter written: what the last look into the log brought.
  func learnFreeze(_ start: FreezeStart?, written: PageSet) {
    guard let start else { return }
    var pages = start.pages
    pages.learn(unprotected: start.unprotected, written: written.subtracting(start.written))
    folder.setFreezePages(pages)
  }
}
