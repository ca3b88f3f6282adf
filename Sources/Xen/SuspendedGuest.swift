import CXen
import Glibc

/// What both a pause and the recovery from one do to a guest.
extension Hypervisor {
  /// The state of a domain that can still be held and let go: running, paused or suspended.
  ///
  /// - Throws: ``XenError/ended(domain:_:)``; ``XenError/domainGone(_:)`` also when another domain has the number by now.
  func liveState(of domain: Domain) throws(XenError) -> Domain.State {
    let now = try self.domain(domain.id)
    guard now.uuid == domain.uuid else { throw .domainGone(domain.id) }
    switch now.state {
    case .running, .paused, .suspended: return now.state
    case .crashed, .dying, .shutdown: throw .ended(domain: domain.id, now.state)
    }
  }

  /// Whether the domain neither runs nor can be made to run again.
  func hasEnded(_ domain: Domain) -> Bool {
    do { _ = try liveState(of: domain) } catch { return true }
    return false
  }

  func isSuspended(_ domain: Domain) throws(XenError) -> Bool { try liveState(of: domain) == .suspended }

  /// Lets the suspended guest go on in place: its suspend call returns 1, "cancelled".
  ///
  /// - Returns: false when somebody else had resumed it before.
  /// - Throws: ``XenError/resumeFailed(domain:errno:)``; the guest is then still suspended. ``XenError/ended(domain:_:)`` and
  ///   ``XenError/domainGone(_:)`` when there is none any more.
  @discardableResult
  func resume(_ domain: Domain) throws(XenError) -> Bool {
    var code: Int32 = 0
    for _ in 0..<100 {
      if xc_domain_resume(handle, domain.id, 1) == 0 { return true }
      code = errno
      if try liveState(of: domain) != .suspended { return false }
      guard code == EAGAIN || code == EBUSY || code == EINTR else { break }
      usleep(1000)
    }
    throw .resumeFailed(domain: domain.id, errno: code)
  }
}

/// The request to suspend in `control/shutdown`. A guest empties the node when it takes what stands there.
struct SuspendRequest {
  static let word = "suspend"
  let store: XenStore
  let domain: UInt32

  var node: String { "/local/domain/\(domain)/control/shutdown" }

  /// The guest took it, or nobody asked.
  func isTaken() throws(XenError) -> Bool { try store.read(node) != SuspendRequest.word }

  /// Takes an unanswered request back, so that the guest cannot act on it later.
  ///
  /// - Returns: false when the guest took it in the meantime.
  /// - Throws: ``XenError/restless(path:)``; the guest may still act on it.
  func withdraw() throws(XenError) -> Bool {
    // A look first: a guest that writes other things there without a break lets no transaction end.
    guard try !isTaken() else { return false }
    return try store.transaction(node) { (transaction) throws(XenError) -> Bool in
      guard try store.read(node, in: transaction) == SuspendRequest.word else { return false }
      try store.write(node, "", in: transaction)
      return true
    }
  }
}
