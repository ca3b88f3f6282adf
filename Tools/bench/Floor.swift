import ArgumentParser
import Xen

/// The handshake floor: a suspend and an immediate resume with nothing copied, the limit no toolstack can beat.
struct Floor: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Suspend and resume a guest, copying nothing.")

  @Argument(help: "Name, id or uuid of the guest.") var guest: String
  @Option(help: "How many times.") var count = 5

  func run() throws {
    let hypervisor = try Hypervisor()
    let store = try XenStore()
    let domain = try hypervisor.find(guest, store: store)
    var pauses: [Double] = []
    var stops: [Double] = []
    for _ in 0..<count {
      let suspension = try Suspension(hypervisor, store, domain)
      let requested = ContinuousClock.now
      try suspension.request()
      try suspension.awaitSuspended()
      let suspended = ContinuousClock.now
      try suspension.resume()
      let resumed = ContinuousClock.now
      suspension.close()
      pauses.append((resumed - requested).milliseconds)
      stops.append((resumed - suspended).milliseconds)
    }
    print("floor_pause_ms=\(figure(pauses.median)) floor_stop_ms=\(figure(stops.median)) count=\(count)")
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
