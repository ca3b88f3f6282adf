import ArgumentParser
import Glibc
import Xen

/// The handshake floor: a suspend and an immediate resume with nothing copied, the limit no toolstack can beat.
struct Floor: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Suspend and resume a guest, copying nothing.")

  @Argument(help: "Name, id or uuid of the guest.") var guest: String
  @Option(help: "How many times.") var count = 5
  @Option(
    help: "How often to ask by event channel for each suspend, before it and within: the guest shall count it as one.")
  var requests = 1

  @Flag(
    help: ArgumentHelp(
      "Empty the log of dirty pages before each, as every live copy must; the guest then faults on each page that its freeze touches.",
      discussion: "Takes from the log: what an armed guest wrote is lost to the next take, which compares everything."))
  var afterClean = false

  func run() throws {
    let hypervisor = try Hypervisor()
    let store = try XenStore()
    let domain = try hypervisor.find(guest, store: store)
    var pauses: [Double] = []
    var stops: [Double] = []
    var path = SuspendPath.xenstore
    var note: String?
    let log = afterClean ? try LogDirty(hypervisor, store, domain) : nil
    for _ in 0..<count {
      usleep(500_000)  // the guest is still thawing from the last one, and that is no part of this one
      let suspension = try Suspension(hypervisor, store, domain)
      if let log {
        var pages = PageSet()
        try log.collect(into: &pages)
      }
      try suspension.prepare()
      let requested = ContinuousClock.now
      try suspension.request()
      try askAgain(suspension)
      _ = try suspension.awaitSuspended()
      let suspended = ContinuousClock.now
      try askAgain(suspension)
      _ = try suspension.resume()
      let resumed = ContinuousClock.now
      suspension.close()
      path = suspension.path
      note = suspension.note
      pauses.append((resumed - requested).milliseconds)
      stops.append((resumed - suspended).milliseconds)
    }
    print(
      "floor_pause_ms=\(figure(pauses.median)) floor_stop_ms=\(figure(stops.median)) count=\(count) path=\(path.rawValue)"
    )
    if let note { print("note: \(note)") }
  }

  private func askAgain(_ suspension: Suspension) throws {
    guard suspension.path == .eventChannel else { return }
    for _ in 1..<max(1, requests) { try suspension.notify() }
  }
}

extension Duration {
  var milliseconds: Double { Double(components.seconds) * 1e3 + Double(components.attoseconds) / 1e15 }
}

extension [Double] {
  var median: Double { isEmpty ? 0 : sorted()[count / 2] }
}

/// A figure with three decimals; Foundation's formatters would cost 45 MB of static binary.
func figure(_ value: Double) -> String {
  let thousandths = Int((value * 1000).rounded())
  let fraction = String(thousandths % 1000)
  return "\(thousandths / 1000)." + String(repeating: "0", count: 3 - fraction.count) + fraction
}
