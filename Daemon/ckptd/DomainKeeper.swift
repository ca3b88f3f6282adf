import Checkpoint
import Dispatch
import Glibc
import Logging
import Xen

/// Lets go of guests that are gone. Xen keeps what is left of a destroyed domain for as long as anybody has its memory mapped, and
/// the engine keeps PV guests' mapped between takes.
enum DomainKeeper {
  /// Watches on a thread of its own, to the end of the process. Xen may come later than we, and xenstored may be started anew.
  static func start(_ memories: ResidentMemories, logger: Logger) {
    DispatchQueue(label: "domains").async {
      keep(
        logger,
        watch: { begun in
          let (hypervisor, watch) = (try Hypervisor(), try DomainWatch())
          begun()
          while watch.next() { forgetGone(hypervisor, memories) }
        },
        pause: {
          sleep(30)
          return true
        })
    }
  }

  /// Watches again and again. That it cannot is said once, until it can.
  ///
  /// - Parameters:
  ///   - watch: returns when xenstored does not answer any more; tells when it has begun.
  ///   - pause: passes the time until the next attempt; false when there shall be none.
  static func keep(_ logger: Logger, watch: (_ begun: () -> Void) throws -> Void, pause: () -> Bool) {
    var isWaiting = false
    repeat {
      var why = "xenstored does not answer any more"
      do {
        try watch {
          if isWaiting { logger.notice("guests that end are noticed again") }
          isWaiting = false
        }
      } catch { why = "\(error)" }
      if !isWaiting { logger.warning("guests that end are not noticed; tried again every 30 seconds: \(why)") }
      isWaiting = true
    } while pause()
  }

  private static func forgetGone(_ hypervisor: Hypervisor, _ memories: ResidentMemories) {
    guard let domains = try? hypervisor.domains() else { return }
    memories.keepOnly(Set(domains.filter { $0.state != .dying }.map(\.id)))
  }
}
