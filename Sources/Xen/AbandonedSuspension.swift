import Glibc

/// A suspend whose process did not live to end it, or could not.
public struct AbandonedSuspension {
  public enum Outcome: Sendable, Equatable {
    /// The guest was suspended; it runs again.
    case resumed
    /// The guest had not taken the request; it is withdrawn.
    case withdrawn
    /// The guest runs, and will not suspend any more.
    case running
    /// It crashed, or was shut down or destroyed: there is nothing to resume.
    case ended
  }

  public let domain: Domain
  /// The process that asked still lives: nothing is abandoned, and nothing must be done.
  public var isAlive: Bool { note.isAtWork(isOpen: SuspensionNote.isOpen(domain.id)) }
  /// Seconds since the host's boot.
  public static var now: Int { SuspensionNote.now }
  private let hypervisor: Hypervisor
  private let store: XenStore
  private let note: SuspensionNote
  private let request: SuspendRequest
  /// What it will be when the guest does not suspend until then, in seconds since the host's boot; nil before the first look.
  private var watched: (until: Int, outcome: Outcome)?

  /// Nil when nobody of ours is suspending the guest.
  ///
  /// - Throws: what keeps its note from being read.
  public init?(_ hypervisor: Hypervisor, _ store: XenStore, _ domain: Domain) throws(XenError) {
    guard let note = try SuspensionNote.read(store, domain: domain.id) else { return nil }
    self.domain = domain
    self.hypervisor = hypervisor
    self.store = store
    self.note = note
    request = SuspendRequest(store: store, domain: domain.id)
  }

  /// Whether it may have been begun until then, in seconds since the host's boot; else it is a later take's.
  public func wasBegun(until time: Int) -> Bool { note.wasBegun(until: time) }

  /// One step towards a guest that runs: resumes it if it is suspended, else takes the request back; one that had taken it
  /// is looked at again and again, until it cannot suspend any more.
  ///
  /// - Returns: nil when it must be called again, after some milliseconds.
  /// - Throws: ``XenError/resumeFailed(domain:errno:)``, ``XenError/busy(domain:_:)`` when another tool is saving the guest,
  ///   and others; the note then stays, so that it can be tried again.
  public mutating func step() throws(XenError) -> Outcome? {
    guard let now = try? hypervisor.domain(domain.id), now.uuid == domain.uuid else { return .ended }
    // After the state: a later take writes its note before its suspend can show.
    guard isLeft else { return .running }
    switch now.state {
    case .crashed, .dying, .shutdown: return try end(.ended)
    case .suspended where note.asked != nil:
      // A stopped engine holds the lock of its own take; its guard does not wait for it.
      if let holder = SuspendChannel.lockHolder(domain.id), !note.owner.has(holder) {
        throw .busy(domain: domain.id, "another tool holds its suspend event channel")
      }
      if domain.isBeingSaved { throw .busy(domain: domain.id, "another tool saves it") }
      // A guest that stands still with our request untaken does so for another tool. What xenstored does not tell keeps none suspended.
      if (try? request.withdraw()) == true { throw .busy(domain: domain.id, Suspension.foreignSuspend) }
      try hypervisor.resume(domain)
      return try end(.resumed)
    case .running, .paused, .suspended: break
    }
    guard note.asked != nil else { return try end(.running) }
    guard let watched else {
      watched =
        try request.withdraw()
        ? (SuspensionNote.now + Suspension.lateSeconds, .withdrawn) : (note.deadline, .running)
      return nil
    }
    guard SuspensionNote.now >= watched.until else { return nil }
    // It may have been stopped as it froze, and goes on with that when it is let go.
    if now.state == .paused {
      throw .busy(domain: domain.id, "it is paused; let it go on (`xl unpause`), then look again: `ckpt recover`")
    }
    return try end(watched.outcome)
  }

  /// Resumes a guest of which xenstored does not tell who asked it to suspend; the caller knows that we did.
  ///
  /// - Returns: false when it does not stand suspended, or another tool saves it.
  public static func resume(_ hypervisor: Hypervisor, _ domain: Domain) throws(XenError) -> Bool {
    guard try hypervisor.isSuspended(domain), !domain.isBeingSaved else { return false }
    return try hypervisor.resume(domain)
  }

  /// Ends it without a look at the guest: who asked is known to have resumed it.
  ///
  /// - Throws: as ``step()``.
  public func forget() throws(XenError) { _ = try end(.running) }

  /// Nobody ended it meanwhile. Two may look after one guest, its guard and a starting daemon: once the first of them has let it go,
  /// another take may hold it, and that is not ours to end.
  private var isLeft: Bool { note.stands(SuspensionNote.text(store, domain: domain.id)) }

  private func end(_ outcome: Outcome) throws(XenError) -> Outcome {
    guard isLeft else { return outcome }
    SuspendChannel.clearSubscription(hypervisor, domain: domain.id)
    // The store's daemon is told once more of one that runs: who resumed it may have died before it could, and the guest's
    // `xl` would then miss its next shutdown.
    if outcome == .resumed || outcome == .running { try? store.resumed(domain: domain.id) }
    try note.clear(hypervisor, store, domain)
    return outcome
  }
}
