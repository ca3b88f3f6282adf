import Glibc

/// How a guest is asked to suspend.
public enum SuspendPath: String, Sendable {
  /// Its own suspend event channel (`device/suspend/event-channel`).
  case eventChannel = "event-channel"
  /// `control/shutdown = suspend` in xenstore; the only way for mainline Linux.
  case xenstore
}

/// One cooperative suspend of one guest and its resume in place.
///
/// Made long before the pause, it finds out how to ask and disturbs nobody; ``prepare()`` comes right before the request.
/// A request that got no answer is withdrawn; a guest that suspends after all, late, is resumed at once.
public final class Suspension {
  /// Seconds for the guest to take the request. A live kernel answers in milliseconds.
  public static let answerSeconds = 20
  /// Seconds from the answer to the suspend. Linux gives user tasks 20 to freeze and kernel threads as many, then goes on
  /// and says nothing.
  public static let freezeSeconds = 45
  /// Seconds that a given-up request is still watched.
  static let lateSeconds = 5

  /// How far it came, and with it what is left to do.
  private enum Progress {
    case nothing
    /// The note is up; the guest was not asked.
    case claimed
    /// The guest may suspend, or stands suspended.
    case asked
    /// The guest runs again, and will not suspend for us.
    case over
    /// Another process of ours has taken the guest over, with the note.
    case handedOver
  }

  /// Why the guest is not asked through a channel of its own; nil when it is. ``prepare()`` may have more to say.
  public private(set) var note: String?
  private let hypervisor: Hypervisor
  private let store: XenStore
  private let domain: Domain
  private var port: SuspendChannel.Port
  private let node: SuspendRequest
  private var channel: SuspendChannel?
  private var progress = Progress.nothing

  public var path: SuspendPath { port == .ours ? .xenstore : .eventChannel }

  /// - Throws: ``XenError/suspendRefused(domain:_:)`` when the guest says it cannot, ``XenError/busy(domain:_:)``
  ///   when another request is under way.
  public init(_ hypervisor: Hypervisor, _ store: XenStore, _ domain: Domain) throws(XenError) {
    self.hypervisor = hypervisor
    self.store = store
    self.domain = domain
    node = SuspendRequest(store: store, domain: domain.id)
    let guest = "/local/domain/\(domain.id)"
    if try store.read("\(guest)/control/feature-suspend") == "0" {
      throw .suspendRefused(domain: domain.id, "its kernel says control/feature-suspend = 0")
    }
    let there = try SuspensionNote.read(store, domain: domain.id)
    if let obstacle = there?.obstacle(at: SuspensionNote.now, isOpen: SuspensionNote.isOpen(domain.id)) {
      throw .busy(domain: domain.id, obstacle)
    }
    let state = try hypervisor.liveState(of: domain)
    if let obstacle = Suspension.obstacle(state, pending: try store.read(node.node) ?? "") {
      throw .busy(domain: domain.id, obstacle)
    }
    let offer = try store.read("\(guest)/device/suspend/event-channel") ?? ""
    var note =
      offer.isEmpty ? "the guest offers no suspend event channel" : "the guest offers a channel that is no port"
    if let port = Suspension.port(offer) {
      do throws(XenError) {
        try SuspendChannel.probe(hypervisor, store, domain: domain.id, .offered(port))
        self.port = .offered(port)
        return
      } catch {
        // A held lock means that another tool is saving the guest; a port that does not bind is the guest's mistake.
        if case .busy = error { throw error }
        note = Suspension.unusable(port, error)
      }
    }
    try SuspendChannel.probe(hypervisor, store, domain: domain.id, .ours)
    port = .ours
    self.note = note
  }

  private static func unusable(_ port: UInt32, _ error: XenError) -> String {
    "the guest offers port \(port), which cannot be used: \(error)"
  }

  /// A port as the guest wrote it: decimal digits only, from 1.
  static func port(_ text: String) -> UInt32? {
    guard text.utf8.count <= 10, text.utf8.allSatisfy({ (48...57).contains($0) }), let port = UInt32(text),
      port > 0, port <= UInt32(Int32.max)
    else { return nil }
    return port
  }

  /// Why a guest in this state must not be asked: its suspend would be another tool's, and that tool's image torn by our resume.
  ///
  /// - Parameter pending: what stands in `control/shutdown`.
  static func obstacle(_ state: Domain.State, pending: String) -> String? {
    if state == .suspended { return foreignSuspend }
    if state == .paused { return "it is paused (`xl pause`)" }
    return pending.isEmpty
      ? nil : "control/shutdown holds \(Printable.quoted(pending)), a request of another tool or of the guest itself"
  }

  /// Somebody's suspend that is not ours to end.
  static let foreignSuspend = "it stands suspended, by another tool or by itself"

  /// Puts up the note that says who is at work, and subscribes to the guest's suspend.
  ///
  /// Only right before the request: while we are subscribed, a save by xl waits in vain. ``path`` and ``note`` may be others after it.
  /// - Throws: ``XenError/busy(domain:_:)`` when another take or tool is suspending the guest.
  public func prepare() throws(XenError) {
    try SuspensionNote.claim(store, domain: domain.id)
    progress = .claimed
    channel = try subscribe()
  }

  /// The port that the guest offered seconds ago may be gone: its module was unloaded, or loaded anew. Then the guest is asked by
  /// xenstore, as it would be had the port been gone before.
  private func subscribe() throws(XenError) -> SuspendChannel {
    if case .offered(let offered) = port {
      do throws(XenError) {
        return try SuspendChannel(hypervisor, store, domain: domain.id, port)
      } catch {
        // Another tool saves the guest by now.
        if case .busy = error { throw error }
        note = Suspension.unusable(offered, error)
      }
      port = .ours
    }
    return try SuspendChannel(hypervisor, store, domain: domain.id, port)
  }

  /// Asks the guest to suspend.
  ///
  /// - Throws: ``XenError/busy(domain:_:)`` when another tool got ahead of us; the guest was not asked.
  public func request() throws(XenError) {
    // Whatever is thrown below, the request may be there.
    progress = .asked
    let obstacle: String?
    do {
      obstacle = try store.transaction(node.node, write)
    } catch {
      // Not one of its attempts was carried out.
      if case .restless = error { progress = .claimed }
      throw error
    }
    if let obstacle {
      progress = .claimed
      throw .busy(domain: domain.id, obstacle)
    }
    if path == .eventChannel { try notify() }
  }

  /// Request and note in one step. Returns what is in the way.
  private func write(in transaction: XenStoreTransaction) throws(XenError) -> String? {
    let pending = try store.read(node.node, in: transaction) ?? ""
    if let obstacle = Suspension.obstacle(try hypervisor.liveState(of: domain), pending: pending) { return obstacle }
    // Whoever finds the guest suspended and us dead shall know that it was us.
    try SuspensionNote(owner: .own, asked: SuspensionNote.now).write(store, domain: domain.id, in: transaction)
    if path == .xenstore { try store.write(node.node, SuspendRequest.word, in: transaction) }
    return nil
  }

  /// Rings the channel that the guest offers. A second ring is no second request.
  public func notify() throws(XenError) { try channel?.notify() }

  /// Waits until the hypervisor holds the guest suspended.
  ///
  /// - Parameters:
  ///   - isTaken: looked at again and again; when another process of ours let the guest go, it will not suspend for us any more.
  ///   - mayGoOn: called again and again until the guest has taken the request; throws when nobody wants the suspend any more.
  /// - Returns: false when `isTaken` says so; ``handOver()`` is to be called then.
  /// - Throws: the state of the guest that makes waiting useless, or what `mayGoOn` threw; the request is then withdrawn.
  public func awaitSuspended(
    unless isTaken: () -> Bool = { false }, _ mayGoOn: () throws -> Void = {}
  ) throws -> Bool {
    let asked = ContinuousClock.now
    var taken = path == .eventChannel ? asked : nil
    // Less and less often: xenstored is busy enough with a guest that freezes its devices.
    var interval = Duration.milliseconds(4)
    var nextLook = asked + interval
    while true {
      let rang = channel?.drain() == true
      let isSuspended = try hypervisor.isSuspended(domain)
      let now = ContinuousClock.now
      if taken == nil, isSuspended || now >= nextLook {
        if try hasTaken() { taken = now }
        interval = min(interval * 2, .milliseconds(50))
        nextLook = now + interval
      }
      if isSuspended {
        if taken != nil { return true }
        try refuseForeignSuspend()
      }
      if let reason = Suspension.reasonToEnd(domain.id, path, asked: asked, taken: taken, now: now, mayGoOn) {
        // Told through its channel the guest asks itself by xenstore, and that request may still lie there.
        let isWithdrawn = try node.withdraw()
        if isWithdrawn || taken != nil {
          try watchForLateSuspend(isWithdrawn: isWithdrawn && taken == nil)
          throw reason
        }
        // The guest has taken it just now: it will suspend, and must be resumed then.
        taken = now
      }
      if isTaken() { return false }
      // The event wakes us; the short limit is for one that got lost.
      wait(milliseconds: 2, rang: rang)
    }
  }

  /// Whether the guest has taken the request, as far as xenstored tells.
  private func hasTaken() throws(XenError) -> Bool {
    do throws(XenError) { return try node.isTaken() } catch {
      // It stands, by now at least, and nobody says for whom: for us, who have asked, rather than for ever.
      guard try hypervisor.isSuspended(domain), !domain.isBeingSaved else { throw error }
      return true
    }
  }

  /// Why nobody should wait any longer for a guest that is not suspended; nil as long as somebody should.
  ///
  /// - Parameters:
  ///   - taken: when the guest took the request; nil when it has not, as far as we know. What is told through its channel counts as
  ///     taken at once: nothing would tell.
  static func reasonToEnd(
    _ domain: UInt32, _ path: SuspendPath, asked: ContinuousClock.Instant, taken: ContinuousClock.Instant?,
    now: ContinuousClock.Instant, _ mayGoOn: () throws -> Void
  ) -> (any Error)? {
    if let taken {
      guard now > taken + .seconds(freezeSeconds) else { return nil }
      return path == .eventChannel
        ? XenError.channelUnanswered(domain: domain, seconds: freezeSeconds)
        : XenError.suspendTimedOut(domain: domain, seconds: freezeSeconds)
    }
    do { try mayGoOn() } catch { return error }
    guard now > asked + .seconds(answerSeconds) else { return nil }
    return XenError.suspendIgnored(domain: domain, seconds: answerSeconds)
  }

  /// The guest stands suspended and has not taken our request: it was freezing for another tool when we asked. It is that
  /// tool's to resume.
  private func refuseForeignSuspend() throws(XenError) {
    // Not there any more: it was resumed meanwhile, and took ours.
    guard try node.withdraw() else { return }
    progress = .over
    throw .busy(domain: domain.id, Suspension.foreignSuspend)
  }

  /// A guest that suspends after we gave up would stay suspended for ever: nobody else resumes it.
  ///
  /// - Parameter isWithdrawn: the guest had not taken the request. One that another tool saves now suspends for that one.
  private func watchForLateSuspend(isWithdrawn: Bool) throws(XenError) {
    let end = ContinuousClock.now + .seconds(Suspension.lateSeconds)
    while ContinuousClock.now < end {
      let rang = channel?.drain() == true
      if try hypervisor.isSuspended(domain) {
        if isWithdrawn, domain.isBeingSaved { break }
        try hypervisor.resume(domain)
      }
      wait(milliseconds: 50, rang: rang)
    }
    // One that `xl pause` stopped as it froze goes on with that when it is let go: its note stays.
    if (try? hypervisor.liveState(of: domain)) != .paused { progress = .over }
  }

  /// - Parameter rang: there was an event just now, and the guest was not suspended. One that rings without a break shall not
  ///   keep a CPU of dom0 busy.
  private func wait(milliseconds: Int32, rang: Bool) {
    if rang { usleep(500) }
    // Without a channel, a descriptor that poll passes over.
    var waiting = pollfd(fd: channel?.descriptor ?? -1, events: Int16(POLLIN), revents: 0)
    _ = poll(&waiting, 1, milliseconds)
  }

  /// Lets the suspended guest go on in place: its suspend call returns 1, "cancelled".
  ///
  /// - Returns: false when somebody else had resumed it before: it was not held all the time.
  /// - Throws: ``XenError/resumeFailed(domain:errno:)``; the guest is then still suspended.
  public func resume() throws(XenError) -> Bool {
    let wasHeld = try hypervisor.resume(domain)
    progress = .over
    return wasHeld
  }

  /// From here on another process of ours ends what was begun, as ``AbandonedSuspension``; we touch the guest no more.
  public func handOver() { progress = .handedOver }

  public enum Presence: Sendable, Equatable {
    case suspended
    /// It runs, or could.
    case running
    /// It ended, or is about to.
    case gone
  }

  /// What Xen has of the guest now.
  public var presence: Presence {
    guard let state = try? hypervisor.liveState(of: domain) else { return .gone }
    return state == .suspended ? .suspended : .running
  }

  /// The guest was asked and may suspend yet.
  public var isOpen: Bool { progress == .asked }

  /// What can wait until the guest runs: xenstored's notice, the subscription, the channel. The note goes only when the guest
  /// will not suspend for us any more; else it becomes nobody's, for ``AbandonedSuspension``.
  public func close() {
    guard progress != .nothing else { return }
    defer { SuspensionNote.close(domain.id) }
    if progress == .asked, hypervisor.hasEnded(domain) { progress = .over }
    // One ring too many is a request too many: what the guest still asks of itself would find nobody to resume it. While we
    // have the channel's lock, no other tool rings.
    if progress == .over, path == .eventChannel { _ = try? node.withdraw() }
    channel?.close()
    channel = nil
    guard progress != .handedOver else { return }
    try? store.resumed(domain: domain.id)
    var note: SuspensionNote?
    if progress == .asked {
      let asked = ((try? SuspensionNote.read(store, domain: domain.id)) ?? nil)?.asked
      note = SuspensionNote(owner: .nobody, asked: asked ?? SuspensionNote.now)
    }
    do { try SuspensionNote.replace(by: note, hypervisor, store, domain) } catch {
      // Our connection may be the one that is lost. A note that stays keeps the next take waiting.
      if let store = try? XenStore() { try? SuspensionNote.replace(by: note, hypervisor, store, domain) }
    }
    progress = .nothing
  }
}
