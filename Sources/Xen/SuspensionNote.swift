import Glibc
import Synchronization

/// Who is suspending a guest, and since when: a note beside the domain in xenstore, from before the subscription to its
/// suspend until the guest is known to run. It goes when the domain goes.
struct SuspensionNote: Equatable {
  var owner: ProcessIdentity
  /// When the guest was asked, in seconds since the host's boot; nil: it was not.
  var asked: Int?

  init(owner: ProcessIdentity, asked: Int?) { (self.owner, self.asked) = (owner, asked) }

  /// Nil for no note. A text that we did not write is a note of nobody, long ago: a suspended guest is then resumed.
  init?(_ text: String) {
    guard !text.isEmpty else { return nil }
    let end = text.lastIndex(of: " ") ?? text.startIndex
    let last = text[end...].dropFirst()
    let asked = UInt32(last).map(Int.init)
    guard let owner = ProcessIdentity(String(text[..<end])), last == "-" || asked != nil else {
      self.init(owner: .nobody, asked: 0)
      return
    }
    self.init(owner: owner, asked: asked)
  }

  var text: String { "\(owner.text) \(asked.map(String.init) ?? "-")" }

  /// Seconds since the host's boot: a clock that is the same for every process.
  static var now: Int {
    var time = timespec()
    clock_gettime(CLOCK_BOOTTIME, &time)
    return time.tv_sec
  }

  /// Until when a guest that was asked may still suspend, in seconds since the host's boot.
  var deadline: Int { (asked ?? 0) + Suspension.answerSeconds + Suspension.freezeSeconds }

  /// Whether the guest was asked until then, in seconds since the host's boot. Who has not asked it yet does so later, if it lives.
  func wasBegun(until time: Int) -> Bool { asked.map { $0 <= time } ?? !owner.isAlive }

  /// Who asked still works on it.
  ///
  /// - Parameter isOpen: this process suspends the guest; a note of it that stands there otherwise is one that could not be cleared.
  func isAtWork(isOpen: Bool) -> Bool { owner == .own ? isOpen : owner.isAlive }

  /// Why nobody else may ask this guest to suspend; nil when the note is only a remainder.
  func obstacle(at now: Int, isOpen: Bool) -> String? {
    if isAtWork(isOpen: isOpen) { return SuspensionNote.inPause }
    guard asked != nil, now < deadline else { return nil }
    return "a take that did not end has asked it to suspend, `ckpt recover` looks after that"
  }

  /// Whether what stands there now is this note still; the take that wrote it may have disowned it.
  ///
  /// - Parameter text: nil when it could not be read, which says nothing: one that was cleared is empty.
  func stands(_ text: String?) -> Bool {
    guard let text else { return true }
    guard let now = SuspensionNote(text) else { return false }
    return now.asked == asked && (now.owner == owner || now.owner == .nobody)
  }

  private static let inPause = "a take of it is in its pause"

  /// Domains that this process suspends: their notes are up.
  private static let open = Mutex<Set<UInt32>>([])

  static func isOpen(_ domain: UInt32) -> Bool { open.withLock { $0.contains(domain) } }

  /// What was begun with ``claim(_:domain:)`` is over, whatever became of the note.
  static func close(_ domain: UInt32) { _ = open.withLock { $0.remove(domain) } }

  // MARK: In xenstore

  private static func node(_ store: XenStore, _ domain: UInt32) -> DomainNote {
    DomainNote(store, domain: domain, "pause")
  }

  /// As it stands there; nil when it cannot be read, or never was.
  static func text(_ store: XenStore, domain: UInt32) -> String? { (try? node(store, domain).read()) ?? nil }

  static func read(
    _ store: XenStore, domain: UInt32, in transaction: XenStoreTransaction? = nil
  ) throws(XenError) -> SuspensionNote? {
    guard let text = try node(store, domain).read(in: transaction) else { return nil }
    return SuspensionNote(text)
  }

  func write(_ store: XenStore, domain: UInt32, in transaction: XenStoreTransaction) throws(XenError) {
    try SuspensionNote.node(store, domain).write(text, in: transaction)
  }

  /// Puts up a note of this process, which has not asked yet.
  ///
  /// - Throws: ``XenError/busy(domain:_:)`` when that of another must stay.
  static func claim(_ store: XenStore, domain: UInt32) throws(XenError) {
    // Ours first: of two takes in one process only one may come to the transaction.
    guard open.withLock({ $0.insert(domain).inserted }) else { throw .busy(domain: domain, inPause) }
    do throws(XenError) { try put(store, domain: domain) } catch {
      close(domain)
      throw error
    }
  }

  private static func put(_ store: XenStore, domain: UInt32) throws(XenError) {
    let obstacle = try store.transaction(node(store, domain).path) { (transaction) throws(XenError) -> String? in
      let there = try read(store, domain: domain, in: transaction)
      if let obstacle = there?.obstacle(at: now, isOpen: false) { return obstacle }
      try SuspensionNote(owner: .own, asked: nil).write(store, domain: domain, in: transaction)
      return nil
    }
    if let obstacle { throw .busy(domain: domain, obstacle) }
  }

  /// Puts `note` in the place of what is there, or clears it. A domain that is gone needs none.
  static func replace(
    by note: SuspensionNote?, _ hypervisor: Hypervisor, _ store: XenStore, _ domain: Domain
  ) throws(XenError) {
    guard let now = try? hypervisor.domain(domain.id), now.uuid == domain.uuid else { return }
    guard let note else { return try node(store, domain.id).clear() }
    try node(store, domain.id).write(note.text)
  }

  /// Clears this note, unless another stands there by now. A domain that is gone needs none.
  func clear(_ hypervisor: Hypervisor, _ store: XenStore, _ domain: Domain) throws(XenError) {
    guard let now = try? hypervisor.domain(domain.id), now.uuid == domain.uuid else { return }
    let node = SuspensionNote.node(store, domain.id)
    try store.transaction(node.path) { (transaction) throws(XenError) in
      guard let text = try node.read(in: transaction), stands(text) else { return }
      try node.write("", in: transaction)
    }
  }
}
