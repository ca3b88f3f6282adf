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
  /// A page that must come with the next collect: if it does not, somebody else took from the log.
  private var canary: UInt64?

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
  func begin(base: EpochBase?) throws -> PageSet {
    let start = try guest.beginLog()
    guard start != .unavailable else {
      reason = "this hypervisor keeps no log of dirty pages for the guest"
      try guest.scan()
      return guest.present
    }
    hasLog = true
    let note = guest.trackingNote.flatMap(TrackingNote.init)
    reason = obstacle(start, note, base)
    if case .armed(_, let pages, let known, _)? = note, reason == nil, let base {
      memory.debt = PageSet()
      memory.debtSince = base.epoch
      canary = known
      try guest.assume(base.pages, pages: pages)
    } else {
      try guest.scan()
    }
    // From here on bits are taken out of the log; an engine that is not us must not believe the rest.
    try guest.setTrackingNote(TrackingNote.owed(token: memory.token).text)
    do {
      // A running guest writes something: an empty log was emptied by somebody.
      if try collect(final: false).isEmpty, reason == nil { reason = "the log was empty" }
    } catch CheckpointError.trackingLost {
      reason = reason ?? "another tool took from the log"
    }
    if reason != nil {
      memory.debtSince = nil
      try guest.scan()
      memory.debt = guest.present
      memory.debtSince = base?.epoch
    }
    return memory.debt
  }

  /// Why the log of this domain cannot tell what changed since the base.
  private func obstacle(_ start: LogDirty.Start, _ note: TrackingNote?, _ base: EpochBase?) -> String? {
    guard let base else { return "there is no epoch to build on" }
    guard let note else { return "the guest was not tracked since epoch \(base.epoch)" }
    guard start == .alreadyOn else { return "another tool switched the log off" }
    switch note {
    case .owed(let token):
      guard token == memory.token else { return "a take that read the log did not end" }
      return memory.debtSince == base.epoch
        ? nil : "what was read of the log does not reach back to epoch \(base.epoch)"
    case .armed(let epoch, _, _, let folder):
      return folder == self.folder && epoch == base.epoch ? nil : "the log belongs to another epoch or store"
    }
  }

  /// Takes what the guest wrote out of the log.
  ///
  /// - Throws: ``CheckpointError/trackingLost(guest:)`` when somebody else took from it meanwhile.
  @discardableResult
  func collect(final: Bool) throws -> PageSet {
    var written = PageSet()
    _ = try guest.collect(into: &written, final: final)
    syncs += 1
    memory.debt.formUnion(written)
    let expected = canary
    canary = guest.present.first.flatMap { guest.mark($0) ? $0 : nil }
    if let expected, !written.contains(expected) {
      memory.debtSince = nil
      throw CheckpointError.trackingLost(guest: guest.identity.name)
    }
    return written
  }

  /// The epoch exists: nothing is owed any more.
  ///
  /// - Parameter witness: a page that the guest wrote as it was resumed, for guests in whose log we cannot mark one.
  func published(_ base: EpochBase?, epoch: Int, witness: UInt64?) throws {
    memory.debt = PageSet()
    memory.base = base
    guard hasLog, policy == .continuous else { return end() }
    try guest.setTrackingNote(
      TrackingNote.armed(epoch: epoch, pages: guest.pageTotal, canary: canary ?? witness, folder: folder).text)
  }

  /// The take ended without an epoch. What was read stays owed: in memory, and by the note for everybody else.
  func failed() { if policy == .perTake { end() } }

  private func end() {
    memory.debt = PageSet()
    guard hasLog else { return }
    guest.endLog()
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
