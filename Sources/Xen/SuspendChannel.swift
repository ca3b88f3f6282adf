import CXen
import Glibc

/// The event channel on which Xen announces that one domain has suspended.
///
/// While it is subscribed Xen sends no VIRQ_DOM_EXC, so the `xl create` monitor of the guest does not see the
/// suspend and stays. One subscriber per domain; the subscription outlives a dead process, so `close()` clears it.
final class SuspendChannel {
  private let hypervisor: Hypervisor
  private let domain: UInt32
  private let events: OpaquePointer
  private let localPort: Int32
  private var lock: Int32?
  private var isOpen = true

  /// The node in which we keep the port that we made in the guest: dom0 cannot close the guest's end, and a guest
  /// has 1023 ports, so later takes bind the same one again.
  private static func portNote(_ store: XenStore, _ domain: UInt32) -> DomainNote {
    DomainNote(store, domain: domain, "completion-port")
  }

  /// Which channel of the guest announces its suspend.
  enum Port: Equatable, Sendable {
    /// One that we made in the guest; it only announces.
    case ours
    /// The one that the guest offers in `device/suspend/event-channel`: it is also told there. xl uses it under a lock.
    case offered(UInt32)
  }

  /// Finds out whether the port can be used, and leaves everything as it was: nobody subscribed, no lock held.
  ///
  /// - Throws: ``XenError/busy(domain:_:)`` when another tool holds the lock.
  static func probe(_ hypervisor: Hypervisor, _ store: XenStore, domain: UInt32, _ port: Port) throws(XenError) {
    let events = try openEvents()
    defer { xenevtchn_close(events) }
    switch port {
    case .ours: _ = try bindOurs(hypervisor, store, events, domain)
    case .offered(let port):
      if lockIsHeld(domain) { throw lockHeld(domain) }
      guard xenevtchn_bind_interdomain(events, domain, port) >= 0 else { throw cannotBind(domain) }
    }
  }

  /// Binds the port and subscribes it.
  ///
  /// - Throws: ``XenError/busy(domain:_:)`` when another tool holds the lock.
  init(_ hypervisor: Hypervisor, _ store: XenStore, domain: UInt32, _ port: Port) throws(XenError) {
    let events = try SuspendChannel.openEvents()
    let bound: (local: Int32, lock: Int32?)
    do throws(XenError) {
      switch port {
      case .ours: bound = (try SuspendChannel.subscribeOurs(hypervisor, store, events, domain), nil)
      case .offered(let port): bound = try SuspendChannel.subscribeOffered(hypervisor, events, domain, port)
      }
    } catch {
      xenevtchn_close(events)
      throw error
    }
    self.hypervisor = hypervisor
    self.domain = domain
    self.events = events
    (localPort, lock) = bound
    // Xen marks a freshly bound port pending at once, so that no event can be lost.
    drain()
  }

  deinit { close() }

  private static func openEvents() throws(XenError) -> OpaquePointer {
    guard let events = xenevtchn_open(nil, 0) else { throw .unreachable(service: "/dev/xen/evtchn", errno: errno) }
    return events
  }

  private static func subscribeOurs(
    _ hypervisor: Hypervisor, _ store: XenStore, _ events: OpaquePointer, _ domain: UInt32
  ) throws(XenError) -> Int32 {
    let ports = try bindOurs(hypervisor, store, events, domain)
    guard xc_domain_subscribe_for_suspend(hypervisor.handle, domain, ports.guest) == 0 else {
      throw .call("subscribing for the suspend event", domain: domain, errno: errno)
    }
    return ports.local
  }

  private static func subscribeOffered(
    _ hypervisor: Hypervisor, _ events: OpaquePointer, _ domain: UInt32, _ port: UInt32
  ) throws(XenError) -> (Int32, Int32?) {
    var lock: Int32 = -1
    let local = xc_suspend_evtchn_init_exclusive(hypervisor.handle, events, domain, Int32(port), &lock)
    if local >= 0 { return (local, lock) }
    let error = cannotBind(domain)
    throw lockIsHeld(domain) ? lockHeld(domain) : error
  }

  private static func bindOurs(
    _ hypervisor: Hypervisor, _ store: XenStore, _ events: OpaquePointer, _ domain: UInt32
  ) throws(XenError) -> (guest: UInt32, local: Int32) {
    let note = portNote(store, domain)
    if let port = try note.read().flatMap({ UInt32($0) }) {
      let local = xenevtchn_bind_interdomain(events, domain, port)
      if local >= 0 { return (port, local) }
    }
    let port = xc_evtchn_alloc_unbound(hypervisor.handle, domain, Hypervisor.ownDomain)
    guard port >= 0 else { throw .call("making an event channel in the guest", domain: domain, errno: errno) }
    let local = xenevtchn_bind_interdomain(events, domain, UInt32(port))
    guard local >= 0 else { throw .call("binding the suspend event channel", domain: domain, errno: errno) }
    try note.write(String(port))
    return (UInt32(port), local)
  }

  private static func cannotBind(_ domain: UInt32) -> XenError {
    .call("binding the guest's suspend event channel", domain: domain, errno: errno)
  }

  private static func lockHeld(_ domain: UInt32) -> XenError {
    .busy(domain: domain, "another tool holds its suspend event channel")
  }

  /// libxenguest says EINVAL for a held lock as for a bad port; asking the lock itself tells them apart.
  static func lockIsHeld(_ domain: UInt32) -> Bool { lockHolder(domain) != nil }

  /// The process that holds the lock, of one byte, as libxenguest takes it; nil for none.
  static func lockHolder(_ domain: UInt32) -> pid_t? {
    let descriptor = open("/var/run/xen/suspend-evtchn-\(domain).lock", O_RDWR | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { Glibc.close(descriptor) }
    var lock = flock()
    lock.l_type = Int16(F_WRLCK)
    lock.l_whence = Int16(SEEK_SET)
    lock.l_len = 1
    guard withUnsafeMutablePointer(to: &lock, { fcntl(descriptor, F_GETLK, $0) }) == 0,
      lock.l_type != Int16(F_UNLCK)
    else { return nil }
    return lock.l_pid
  }

  var descriptor: Int32 { xenevtchn_fd(events) }

  /// Asks the guest to suspend; only for a channel that the guest offered.
  func notify() throws(XenError) {
    guard xenevtchn_notify(events, evtchn_port_t(localPort)) == 0 else {
      throw .call("notifying the suspend event channel", domain: domain, errno: errno)
    }
  }

  /// Takes pending events without waiting; the domain's state is the truth, an event only says to look.
  ///
  /// Not until there are none: a guest may notify faster than we take.
  /// - Returns: whether there was one.
  @discardableResult
  func drain() -> Bool {
    var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    for taken in 0..<16 {
      guard poll(&waiting, 1, 0) == 1 else { return taken > 0 }
      let port = xenevtchn_pending(events)
      guard port >= 0 else { return taken > 0 }
      _ = xenevtchn_unmask(events, evtchn_port_t(port))
    }
    return true
  }

  /// Ends the subscription that a process left behind. Where another tool holds the lock, its own has replaced that one.
  static func clearSubscription(_ hypervisor: Hypervisor, domain: UInt32) {
    if !lockIsHeld(domain) { _ = xc_domain_subscribe_for_suspend(hypervisor.handle, domain, 0) }
  }

  /// Clears the subscription, then lets go of the channel.
  func close() {
    guard isOpen else { return }
    isOpen = false
    _ = xc_domain_subscribe_for_suspend(hypervisor.handle, domain, 0)
    if var lock {
      // Returns -1 even on success in 4.17: nothing to learn from it.
      _ = xc_suspend_evtchn_release(hypervisor.handle, events, domain, localPort, &lock)
    }
    xenevtchn_close(events)
  }
}
