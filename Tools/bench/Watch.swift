import ArgumentParser
import Glibc
import Xen

/// Watches a domain from outside, as an independent witness of how long it stood still.
struct Watch: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Poll a domain's state and print how long it was held suspended.")

  @Argument(help: "Name, id or uuid of the guest.") var guest: String
  @Option(help: "Stop after this many suspends.") var stops = 1
  @Option(help: "Give up after this many seconds.") var seconds = 60

  func run() throws {
    let hypervisor = try Hypervisor()
    let domain = try hypervisor.find(guest, store: try XenStore())
    let end = ContinuousClock.now + .seconds(seconds)
    var since: ContinuousClock.Instant?
    var seen = 0
    print("watching \(domain.id)")
    fflush(nil)
    while seen < stops, ContinuousClock.now < end {
      let isSuspended = try hypervisor.domain(domain.id).state == .suspended
      let now = ContinuousClock.now
      if isSuspended, since == nil { since = now }
      if !isSuspended, let start = since {
        print("stop_ms=\(figure((now - start).milliseconds))")
        fflush(nil)
        seen += 1
        since = nil
      }
      usleep(200)
    }
    guard seen == stops else { throw ExitCode(1) }
  }
}
