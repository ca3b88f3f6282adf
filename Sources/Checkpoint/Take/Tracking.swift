import EpochStore
import Glibc
import Xen

/// How one take learns which pages changed: from Xen's log of dirty pages where it can, else by comparing.
final class Tracking {
  private let guest: any Guest
  private let memory: TakeMemory
  private let policy: TrackingPolicy
  private let folder: String

  /// The log is on: what the guest writes during the take shows in it.
  private(set) var hasLog = false
  /// Why the log does not reach back to the base; nil when it does.
  private(set) var reason: String?
  /// How often the log was read.
  private(set) var syncs = 0
  /// A page that must come with the next collect: if it does not, somebody else took from the log. It outlives a take that fails.
  private var canary: UInt64? {
    get { memory.canary }
    set { memory.canary = newValue }
  }
  /// The note that this take put up last.
  private var noteText: String?
  /// The log can only be switched off.
  private var isBroken = false

  init(_ guest: any Guest, _ folder: GuestFolder, _ memory: TakeMemory, _ policy: TrackingPolicy) {
    self.guest = guest
    self.memory = memory
    self.policy = policy != .auto ? policy : guest.identity.kind == .pvh ? .continuous : .perTake
    // The note must mean the same folder whatever the working directory is.
    self.folder =
      realpath(folder.path, nil).map { path in
        defer { free(path) }
        return String(cString: path)
      } ?? folder.path
  }

  var name: String { policy.rawValue }

  /// Switches the log on, finds the guest's pages, and of them those that may differ from the base: what is in the log if it
  /// reaches back to the base, else all.
  /// - Throws: ``CheckpointError/beingSaved(guest:)``: the log is another tool's then, and what we read it would miss.
  func begin(base: EpochBase?) throws -> PageSet {
    guard !guest.isBeingSaved else { throw CheckpointError.beingSaved(guest: guest.identity.name) }
    let before = guest.trackingNote
    // Before the log is touched: whoever finds it on and us dead shall know whose it was. Until the debt is known not even we
    // may believe what is in it.
    try putUp(.owed(token: TrackingNote.noToken, owner: .own))
    let start: LogDirty.Start
    do { start = try guest.beginLog() } catch {
      try? guest.setTrackingNote(before)
      throw error
    }
    guard start != .unavailable else {
      try guest.setTrackingNote(before)
      reason = "this hypervisor keeps no log of dirty pages for the guest"
      try guest.scan()
      return guest.present
    }
    hasLog = true
    let note = before.flatMap(TrackingNote.init)
    reason = obstacle(start, note, base)
    if reason == nil, let base, let note, try !goOn(from: note, base) {
      // Xen installs a new page unlogged: what came where another one had gone may be missing from the log.
      reason = "the guest's memory was resized since epoch \(base.epoch)"
    }
    if reason != nil { try guest.scan() }
    memory.debtBase = base.map(tracked)
    let written = try peek()
    if reason == nil, written.isEmpty || canary.map({ !written.contains($0) }) == true {
      // A running guest writes something, and our own mark is there: somebody emptied the log.
      reason = "another tool took from the log"
    }
    if reason != nil {
      canary = nil
      try guest.scan()
      memory.debt = guest.present
    } else if let base {
      // What a take that failed found, and its log did not have.
      memory.debt.formUnion(guest.present.subtracting(base.pages))
    }
    try putUp(.owed(token: memory.token, owner: .own))
    var changed = memory.debt
    changed.formUnion(written)
    return changed
  }

  /// What the guest wrote since the last collect. It stays in the log, and is not owed yet.
  func peek() throws -> PageSet {
    try reading {
      var written = PageSet()
      try guest.peek(into: &written, final: false)
      syncs += 1
      return written
    }
  }

  /// Runs what reads the log. After an error nothing that was read is believed.
  private func reading(_ body: () throws -> PageSet) throws -> PageSet {
    do { return try body() } catch {
      memory.distrustDebt()
      // Once Xen had no memory for its log, reading it fails until it was switched off (failed_allocs in mm/paging.c).
      if case .call(_, _, ENOMEM)? = error as? XenError { isBroken = true }
      throw error
    }
  }

  /// The last look, at the suspended guest. What it finds stays in the log as well, so that the next take will look at these pages
  /// again: to take them out would have the hypervisor write-protect all memory, and for PV guests drop all shadow page
  /// tables, while the guest is held.
  ///
  /// - Throws: as ``collect()``.
  func lastLook() throws -> PageSet {
    try reading {
      var written = PageSet()
      if canary == nil, try guest.beginLog() != .alreadyOn { throw lost }
      try guest.peek(into: &written, final: true)
      syncs += 1
      if let canary, !written.contains(canary) { throw lost }
      // Without a round there was no collect that marked one.
      if canary == nil { canary = markedPage() }
      return written
    }
  }

  private func markedPage() -> UInt64? { guest.present.first.flatMap { guest.mark($0) ? $0 : nil } }

  /// Spares the scan: begins with the pages that the base has, or those that a failed take of this engine found. False when the
  /// guest's memory was resized since.
  private func goOn(from note: TrackingNote, _ base: EpochBase) throws -> Bool {
    switch note {
    case .armed(_, let pages, let witness):
      memory.debt = PageSet()
      canary = witness
      return try guest.assume(base.pages, pages: pages)
    case .owed: return try guest.assume(guest.present, pages: guest.pageTotal)
    }
  }

  /// Why the log of this domain cannot tell what changed since the base.
  private func obstacle(_ start: LogDirty.Start, _ note: TrackingNote?, _ base: EpochBase?) -> String? {
    guard let base else { return "there is no epoch to build on" }
    guard let note else { return "the guest was not tracked since epoch \(base.epoch)" }
    guard start == .alreadyOn else { return "another tool switched the log off" }
    switch note {
    case .owed(let token, _):
      guard token == memory.token else { return "a take that read the log did not end" }
      guard memory.canary != nil else { return "nothing shows that the log is whole since a take failed" }
      return memory.debtBase == tracked(base) ? nil : "what is owed belongs to another epoch"
    case .armed(let armed, _, _): return armed == tracked(base) ? nil : "the log belongs to another epoch or store"
    }
  }

  /// Takes what the guest wrote out of the log. The guest then runs into a fault at its next write to each page, wherefore this is
  /// for the beginning of a round, and not for a look.
  ///
  /// - Throws: ``CheckpointError/trackingLost(guest:)`` when somebody else took from it meanwhile. Whatever it throws, an engine
  ///   that stays compares everything next time.
  @discardableResult
  func collect() throws -> PageSet {
    try reading {
      var written = PageSet()
      // Where no page can be marked, this at least shows a log that was switched off: reading one shows nothing, no error.
      if canary == nil, try guest.beginLog() != .alreadyOn { throw lost }
      _ = try guest.collect(into: &written)
      syncs += 1
      memory.debt.formUnion(written)
      let expected = canary
      canary = markedPage()
      if let expected, !written.contains(expected) { throw lost }
      return written
    }
  }

  /// After the pause: had another tool a hand in the log during the take?
  ///
  /// - Parameters:
  ///   - witness: a page that a guest in whose log we cannot mark one writes as it suspends.
  ///   - last: what the last look brought.
  func confirm(witness: UInt64?, in last: PageSet) throws {
    guard hasLog else { return }
    if !isOurs || guest.isBeingSaved || witness.map({ !last.contains($0) }) == true {
      memory.distrustDebt()
      throw lost
    }
  }

  private func putUp(_ note: TrackingNote) throws {
    try guest.setTrackingNote(note.text)
    noteText = note.text
  }

  /// Nobody else began to read the log: a take into another store marks the same page in it as we do.
  private var isOurs: Bool { guest.trackingNote == noteText }

  private var lost: CheckpointError { .trackingLost(guest: guest.identity.name) }

  /// The epoch exists: nothing is owed any more.
  ///
  /// - Parameter witness: a page that the guest writes as it suspends, for guests in whose log we cannot mark one.
  func published(_ base: EpochBase?, witness: UInt64?) throws {
    memory.debt = PageSet()
    (memory.base, memory.debtBase) = (base, nil)
    guard hasLog, policy == .continuous, let base else { return end() }
    guard isOurs else { return }
    try guest.setTrackingNote(
      TrackingNote.armed(base: tracked(base), pages: guest.pageTotal, canary: canary ?? witness).text)
  }

  private func tracked(_ base: EpochBase) -> TrackedBase {
    TrackedBase(epoch: base.epoch, fileHash: base.fileHash, folder: folder)
  }

  /// The take ended without an epoch. What was read stays owed: in memory, and by the note for everybody else.
  func failed() { if policy == .perTake || isBroken { end() } }

  private func end() {
    memory.debt = PageSet()
    canary = nil
    guard hasLog, isOurs else { return }
    // The log is another saver's by now, whose image a switch would tear; it ends it itself.
    if !guest.isBeingSaved { guest.endLog() }
    try? guest.setTrackingNote(nil)
  }
}

extension EpochBase {
  /// The pages that the epoch holds.
  var pages: PageSet {
    var pages = PageSet()
    forEachPFN { pages.insert($0) }
    return pages
  }
}
