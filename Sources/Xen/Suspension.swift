import CXen
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
/// Made before the pause, it holds everything that request, wait and resume need. A request that got no answer is
/// withdrawn; a guest that suspends after all, late, is resumed at once.
public final class Suspension {
  /// Seconds for the guest to take the request. A live kernel answers in milliseconds.
  public static let answerSeconds = 20
  /// Seconds from the answer to the suspend. Linux gives up freezing after 20 by itself and says nothing.
  public static let freezeSeconds = 30
  /// Seconds that a given-up request is still watched.
  static let lateSeconds = 5

  public let path: SuspendPath
  /// Why a channel that the guest offers is not used; nil when it offers none, or it is.
  public let note: String?
  private let hypervisor: Hypervisor
  private let store: XenStore
  private let domain: Domain
  private let channel: SuspendChannel

  /// - Throws: ``XenError/suspendRefused(domain:_:)`` when the guest says it cannot, ``XenError/busy(domain:_:)``
  ///   when another request is under way.
  public init(_ hypervisor: Hypervisor, _ store: XenStore, _ domain: Domain) throws(XenError) {
    self.hypervisor = hypervisor
    self.store = store
    self.domain = domain
    let guest = "/local/domain/\(domain.id)"
    if store.read("\(guest)/control/feature-suspend") == "0" {
      throw .suspendRefused(domain: domain.id, "its kernel says control/feature-suspend = 0")
    }
    if let pending = store.read("\(guest)/control/shutdown"), !pending.isEmpty {
      throw .busy(domain: domain.id, "control/shutdown holds '\(pending.prefix(20))', a request of another tool")
    }
    let offer = store.read("\(guest)/device/suspend/event-channel") ?? ""
    var note =
      offer.isEmpty ? "the guest offers no suspend event channel" : "the guest offers a channel that is no port"
    if let port = Suspension.port(offer) {
      do throws(XenError) {
        channel = try SuspendChannel.offered(hypervisor, domain: domain.id, port: port)
        path = .eventChannel
        self.note = nil
        return
      } catch {
        // A held lock means that another tool is saving the guest; a port that does not bind is the guest's mistake.
        if case .busy = error { throw error }
        note = "the guest offers port \(port), which cannot be used: \(error)"
      }
    }
    channel = try SuspendChannel.ours(hypervisor, store, domain: domain.id)
    path = .xenstore
    self.note = note
  }

  /// For a request that another process made and did not live to end.
  init(settling hypervisor: Hypervisor, _ store: XenStore, _ domain: Domain) throws(XenError) {
    self.hypervisor = hypervisor
    self.store = store
    self.domain = domain
    channel = try SuspendChannel.ours(hypervisor, store, domain: domain.id)
    path = .xenstore
    note = nil
  }

  /// Ends what another process began; see ``AbandonedSuspension/settle()``.
  func settle() throws(XenError) -> AbandonedSuspension.Outcome {
    if try isSuspended() {
      try resume()
      return .resumed
    }
    let withdrawn = try withdraw()
    let end = ContinuousClock.now + .seconds(Suspension.lateSeconds)
    while ContinuousClock.now < end {
      if try isSuspended() {
        try resume()
        return .resumed
      }
      usleep(20_000)
    }
    return withdrawn ? .withdrawn : .running
  }

  /// A port as the guest wrote it: decimal digits only, from 1.
  static func port(_ text: String) -> UInt32? {
    guard text.utf8.count <= 10, text.utf8.allSatisfy({ (48...57).contains($0) }), let port = UInt32(text),
      port > 0, port <= UInt32(Int32.max)
    else { return nil }
    return port
  }

  private var shutdownNode: String { "/local/domain/\(domain.id)/control/shutdown" }

  /// Asks the guest to suspend.
  public func request() throws(XenError) {
    // Whoever finds the guest suspended and us dead shall know that it was us.
    try SuspensionNote.write(store, domain: domain.id)
    switch path {
    case .eventChannel: try channel.notify()
    case .xenstore: try store.write(shutdownNode, "suspend")
    }
  }

  /// Waits until the hypervisor holds the guest suspended.
  ///
  /// - Throws: the state of the guest that makes waiting useless; the request is then withdrawn.
  public func awaitSuspended() throws(XenError) {
    let asked = ContinuousClock.now
    var answered = path == .eventChannel ? asked : nil
    var nextLook = asked
    while true {
      channel.drain()
      if try isSuspended() { return }
      let now = ContinuousClock.now
      // Not each time: xenstored is busy enough with a guest that freezes its devices.
      if answered == nil, now >= nextLook {
        nextLook = now + .milliseconds(50)
        if store.read(shutdownNode) != "suspend" { answered = now }
      }
      if let answered {
        if now > answered + .seconds(Suspension.freezeSeconds) {
          // Told through its channel the guest asks itself by xenstore, and that request may still lie there.
          _ = try withdraw()
          try watchForLateSuspend()
          throw .suspendTimedOut(domain: domain.id, seconds: Suspension.freezeSeconds)
        }
      } else if now > asked + .seconds(Suspension.answerSeconds) {
        if try withdraw() {
          try watchForLateSuspend()
          throw .suspendIgnored(domain: domain.id, seconds: Suspension.answerSeconds)
        }
        answered = now
      }
      // The event wakes us; the short limit is for one that got lost.
      var waiting = pollfd(fd: channel.descriptor, events: Int16(POLLIN), revents: 0)
      _ = poll(&waiting, 1, 2)
    }
  }

  private func isSuspended() throws(XenError) -> Bool {
    let now = try hypervisor.domain(domain.id)
    guard now.uuid == domain.uuid else { throw .domainGone(domain.id) }
    switch now.state {
    case .suspended: return true
    case .running, .paused: return false
    case .crashed: throw .guestData(domain: domain.id, "it crashed while suspending")
    case .dying, .shutdown: throw .domainGone(domain.id)
    }
  }

  /// Takes an unanswered request back, so that the guest cannot act on it later.
  ///
  /// - Returns: false when the guest took it in the meantime.
  private func withdraw() throws(XenError) -> Bool {
    let node = shutdownNode
    return try store.transaction(node) { (transaction) throws(XenError) -> Bool in
      guard store.read(node, in: transaction) == "suspend" else { return false }
      try store.write(node, "", in: transaction)
      return true
    }
  }

  /// A guest that suspends after we gave up would stay suspended for ever: nobody else resumes it.
  private func watchForLateSuspend() throws(XenError) {
    let end = ContinuousClock.now + .seconds(Suspension.lateSeconds)
    while ContinuousClock.now < end {
      channel.drain()
      if try isSuspended() { try resume() }
      var waiting = pollfd(fd: channel.descriptor, events: Int16(POLLIN), revents: 0)
      _ = poll(&waiting, 1, 50)
    }
  }

  /// Lets the suspended guest go on in place: its suspend call returns 1, "cancelled".
  ///
  /// - Throws: ``XenError/resumeFailed(domain:errno:)``; the guest is then still suspended.
  public func resume() throws(XenError) {
    var code: Int32 = 0
    for _ in 0..<100 {
      if xc_domain_resume(hypervisor.handle, domain.id, 1) == 0 { return }
      code = errno
      // EINVAL: it is not suspended any more, somebody resumed it.
      if code == EINVAL, let now = try? hypervisor.domain(domain.id), now.state == .running { return }
      guard code == EAGAIN || code == EBUSY || code == EINTR else { break }
      usleep(1000)
    }
    throw .resumeFailed(domain: domain.id, errno: code)
  }

  /// What can wait until the guest runs: xenstored's notice, the subscription, the channel.
  public func close() {
    channel.close()
    try? store.resumed(domain: domain.id)
    try? SuspensionNote.clear(store, domain: domain.id)
  }
}
