import Glibc

/// What can go wrong between us and the hypervisor.
///
/// Every case leaves the guest as its documentation says; unless it says otherwise the guest was not touched.
public enum XenError: Error, Equatable, CustomStringConvertible {
  /// No hypervisor under this kernel: `/dev/xen/privcmd` is missing.
  case noXen
  /// Xen is there, but we may not use it.
  case notRoot
  /// Xen is there but a library could not reach it.
  case unreachable(service: String, errno: Int32)
  /// The tool was built for one Xen release; domctls of another have other layouts.
  case wrongRelease(found: String, needed: String)
  /// No domain with this name, id or uuid runs here.
  case noSuchDomain(String)
  /// The handle we held points to another domain by now, or to none.
  case domainGone(UInt32)
  /// It does not run any more; there is nothing to resume.
  case ended(domain: UInt32, Domain.State)
  /// A call to the hypervisor failed.
  case call(String, domain: UInt32, errno: Int32)
  /// A xenstore operation failed.
  case store(operation: String, path: String, errno: Int32)
  /// xenstored did not answer in time. The connection is of no use any more.
  case storeSilent(seconds: Int)
  /// A node was written again and again while we wanted to change it; it is as its last writer left it.
  case restless(path: String)
  /// The guest's own data contradicts itself or Xen's rules; it may be broken or hostile.
  case guestData(domain: UInt32, String)
  /// The guest has a feature that this release cannot checkpoint.
  case unsupported(domain: UInt32, String)
  /// The guest says in `control/feature-suspend` that it will not suspend. It runs on.
  case suspendRefused(domain: UInt32, String)
  /// Nothing answered the request in time; the request was withdrawn. The guest runs on.
  case suspendIgnored(domain: UInt32, seconds: Int)
  /// The guest took the request and did not suspend in time. The guest runs on.
  case suspendTimedOut(domain: UInt32, seconds: Int)
  /// The guest was told through the event channel that it offers, which answers nothing, and did not suspend in time. It runs on.
  case channelUnanswered(domain: UInt32, seconds: Int)
  /// Another tool is saving this guest, or asked it to shut down. The guest was not touched.
  case busy(domain: UInt32, String)
  /// The guest could not be resumed: it is still suspended.
  case resumeFailed(domain: UInt32, errno: Int32)

  /// xenstored is silent, was started anew or ended: the next connection may be a better one.
  public var isOfConnection: Bool {
    switch self {
    case .store, .storeSilent, .unreachable: true
    default: false
    }
  }

  public var description: String {
    switch self {
    case .noXen:
      "no Xen here: /dev/xen/privcmd is missing; run this in dom0, or see it work without Xen, in a checkout: ./Tools/demo"
    case .notRoot: "not root: Xen's control interface needs root; run it as root or with sudo"
    case .unreachable(let service, let errno):
      "cannot reach \(service): \(errorText(errno)); is this dom0, and is xenstored running?"
    case .wrongRelease(let found, let needed):
      "this ckpt was built for Xen \(needed), the host runs Xen \(found); install the build for that release"
    case .noSuchDomain(let name): "no guest '\(name)' is running; `xl list` shows the running ones"
    case .domainGone(let id): "domain \(id) went away meanwhile; `xl list` shows what runs"
    case .ended(let domain, let state):
      "domain \(domain) \(state.words) meanwhile; it does not run any more, there is nothing to resume"
    case .call(let call, let domain, let errno): "\(call) on domain \(domain): \(errorText(errno))"
    case .store(let operation, let path, let errno): "xenstore \(operation) \(path): \(errorText(errno))"
    case .storeSilent(let seconds):
      "xenstored has not answered for \(seconds) s: oxenstored waits for the guest that was written to, which does not read its store; it "
        + "hangs, or means harm: look at its console, and destroy it if so"
    case .restless(let path):
      "xenstore \(path) is being written without a break, which only its guest or a broken tool does; nothing was changed there"
    case .guestData(let domain, let text): "domain \(domain): \(text); the guest was left running"
    case .unsupported(let domain, let text): "domain \(domain): \(text)"
    case .suspendRefused(let domain, let text):
      "domain \(domain) refuses to suspend: \(text); the guest runs on"
    case .suspendIgnored(let domain, let seconds):
      "domain \(domain) did not answer the suspend request in \(seconds) s; the request is withdrawn and the "
        + "guest runs on; does its kernel have Xen PV drivers?"
    case .suspendTimedOut(let domain, let seconds):
      "domain \(domain) took the suspend request but did not suspend in \(seconds) s; the guest runs on; "
        + "its kernel log names the task that did not freeze"
    case .channelUnanswered(let domain, let seconds):
      "domain \(domain) was told through the suspend event channel that it offers and did not suspend in \(seconds) s; "
        + "the guest runs on; unless its kernel log names a task that did not freeze, nobody there serves the channel: "
        + "load the module that does anew (in the guest: rmmod ckpt_suspend; modprobe ckpt_suspend), or take the offer "
        + "back and be asked by xenstore: xenstore-write /local/domain/\(domain)/device/suspend/event-channel ''"
    case .busy(let domain, let text): "domain \(domain) is busy: \(text); try again when that is done"
    case .resumeFailed(let domain, let errno):
      "domain \(domain) could not be resumed: \(errorText(errno)); IT IS STILL SUSPENDED"
    }
  }
}

extension Domain.State {
  /// What became of a domain that ended, as the end of a sentence.
  fileprivate var words: String {
    switch self {
    case .running, .paused, .suspended: "runs"
    case .shutdown(reason: 0): "powered off"
    case .shutdown(reason: 1): "rebooted"
    case .shutdown(let reason): "shut down (reason \(reason))"
    case .crashed: "crashed"
    case .dying: "was destroyed"
    }
  }
}

/// The system's text for an errno value, without the number's mystery.
func errorText(_ errno: Int32) -> String { String(cString: strerror(errno)) }
