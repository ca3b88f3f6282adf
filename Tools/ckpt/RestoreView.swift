import Checkpoint
import ControlAPI
import EpochStore

extension RestorePlan {
  /// What somebody has to agree to.
  var question: String {
    let loses =
      domain.map { "The running guest '\(guest)' (domain \($0)) is destroyed;" } ?? "Guest '\(guest)' does not run;"
    let safety =
      takesSafetyEpoch
      ? " An epoch of it as it is now is taken before." : domain == nil ? "" : " What it is now is lost."
    let what = disks.contains { $0.fate == .goesBack } ? "its disks go back" : "it goes back"
    let leftOut = disks.filter { $0.fate == .leftOut }.map(\.vdev)
    let warning =
      leftOut.isEmpty ? "" : " NOT part of the epoch, and to be as then: \(leftOut.joined(separator: ", "))."
    return "\(loses) \(what) to epoch \(epoch) of \(time).\(warning)\(safety)"
  }

  /// What would be done, for people.
  var rows: [[String]] {
    // A clone's pages are proven on their way only.
    let verified = clone == nil ? ", verified" : ""
    var rows = [["epoch", "\(epoch) of '\(guest)', \(time), \(Quantity.bytes(memoryBytes)) of memory\(verified)"]]
    if let domain { rows.append(["destroy", "domain \(domain), '\(guest)'"]) }
    if takesSafetyEpoch { rows.append(["before", "an epoch of it as it is then is taken, for `ckpt undo \(guest)`"]) }
    if let noSafetyReason { rows.append(["before", "no epoch of it is taken: \(noSafetyReason)"]) }
    rows += disks.map { ["disk \($0.vdev)", "\($0.path) (\(Quantity.bytes($0.sizeBytes))) \($0.fate.text(time))"] }
    let name = clone ?? guest
    switch start {
    case .running: rows.append(["start", "'\(name)'"])
    case .paused: rows.append(["start", "'\(name)', paused"])
    case .nothing: rows.append(["start", "nothing"])
    }
    return rows + warnings.map { ["note", $0] } + [["", "nothing was changed"]]
  }
}

extension RestorePlan.Disk.Fate {
  fileprivate func text(_ time: EpochTime) -> String {
    switch self {
    case .goesBack: "goes back to the epoch"
    case .cloned: "is made, a snapshot of the epoch's"
    case .stays: "is read-only and stays"
    case .leftOut: "is NOT part of the epoch; it must be as it was at \(time)"
    }
  }
}

extension RestoreAnswer {
  var text: String {
    guard let domain else {
      let back = plan.disks.contains { $0.fate == .goesBack } ? "has its disks back" : "has no disk that could go back"
      return "epoch \(epoch) \(back), nothing was started"
    }
    let state = plan.start == .paused ? "stands paused" : "runs"
    let what = plan.clone == nil ? "epoch \(epoch)" : "a clone of epoch \(epoch) of '\(plan.guest)'"
    return "\(what) \(state) as domain \(domain)"
  }
}

/// A restore in JSON.
struct RestoreReport: Encodable {
  let guest, uuid: String
  let epoch: Int
  let domain: UInt32?
  let cloneOf: String?
  let safetyEpoch: Int?
  let dryRun: Bool
  /// Milliseconds.
  let steps: [String: Double]
  let plan: RestorePlan

  enum CodingKeys: String, CodingKey {
    case guest, uuid, epoch, domain, steps, plan
    case cloneOf = "clone_of"
    case safetyEpoch = "safety_epoch"
    case dryRun = "dry_run"
  }

  init(_ answer: RestoreAnswer) {
    (guest, uuid, epoch, domain) = (answer.guest, answer.uuid, answer.epoch, answer.domain)
    cloneOf = answer.plan.clone == nil ? nil : answer.plan.guest
    (safetyEpoch, dryRun, plan) = (answer.safetyEpoch, answer.dryRun, answer.plan)
    steps = Dictionary(answer.steps.map { ($0.name, $0.ms) }, uniquingKeysWith: +)
  }
}
