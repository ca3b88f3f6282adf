import Checkpoint
import Dispatch
import Logging
import Xen

/// Lets go of guests that are gone. Xen keeps what is left of a destroyed domain for as long as anybody has its memory mapped, and
/// the engine keeps PV guests' mapped between takes.
enum DomainKeeper {
  /// Watches on a thread of its own, to the end of the process.
  static func start(_ memories: ResidentMemories, logger: Logger) {
    DispatchQueue(label: "domains").async {
      do {
        let (hypervisor, watch) = (try Hypervisor(), try DomainWatch())
        while watch.next() { forgetGone(hypervisor, memories) }
        logger.error("xenstored does not tell any more which guests ended; restart ckptd")
      } catch XenError.noXen {
        // The start has said so.
      } catch {
        logger.error("guests that end are not noticed: \(error)")
      }
    }
  }

  private static func forgetGone(_ hypervisor: Hypervisor, _ memories: ResidentMemories) {
    guard let domains = try? hypervisor.domains() else { return }
    memories.keepOnly(Set(domains.filter { $0.state != .dying }.map(\.id)))
  }
}
