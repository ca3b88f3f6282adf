import ArgumentParser
import Checkpoint
import Xen

struct RecoverCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "recover", abstract: "End what killed takes left: suspended disks and guests, half-made epochs.",
    discussion: """
      Touches nothing that ckpt did not suspend itself; may be run at any time. A guest that may still suspend is watched \
      for up to a minute. A log of dirty pages that nobody reads any more is switched off. What was begun in a pool is settled, \
      what was never published is removed from the store and its pools.
      """)

  @Argument(help: "Name, id or uuid of the guest; all guests when left out.") var vm: String?
  @OptionGroup var common: CommonOptions

  func run() throws {
    let recovery = try common.engine.recover(vm)
    if common.json {
      try Terminal.printJSON(
        Report(
          devices: recovery.devices,
          guests: recovery.guests.map { .init(guest: $0.name, domain: $0.domain, outcome: $0.outcome.word) },
          logs: recovery.logs, swept: recovery.swept, failures: recovery.failures))
    } else {
      show(recovery)
    }
    if !recovery.failures.isEmpty { throw CheckpointError.notRecovered(recovery.failures) }
  }

  private func show(_ recovery: Recovery) {
    for device in recovery.devices { print("\(device): was suspended, runs again") }
    for guest in recovery.guests { print("\(guest.name) (domain \(guest.domain)): \(guest.outcome.text)") }
    for guest in recovery.logs { print("\(guest): its log of dirty pages was left on, it is off") }
    for line in recovery.swept { print(line) }
    if recovery.devices.isEmpty, recovery.guests.isEmpty, recovery.logs.isEmpty, recovery.swept.isEmpty,
      recovery.failures.isEmpty
    {
      print("nothing to recover")
    }
  }

  private struct Report: Encodable {
    struct Guest: Encodable {
      let guest: String
      let domain: UInt32
      let outcome: String
    }
    let devices: [String]
    let guests: [Guest]
    let logs: [String]
    let swept: [String]
    let failures: [String]
  }
}

extension AbandonedSuspension.Outcome {
  fileprivate var word: String {
    switch self {
    case .resumed: "resumed"
    case .withdrawn: "withdrawn"
    case .running: "running"
    case .ended: "ended"
    }
  }

  fileprivate var text: String {
    switch self {
    case .resumed: "was suspended, runs again"
    case .withdrawn: "had not taken the request yet; it is withdrawn, the guest runs"
    case .running: "runs; only the note of the killed take was left"
    case .ended: "does not run any more; there was nothing to resume"
    }
  }
}
