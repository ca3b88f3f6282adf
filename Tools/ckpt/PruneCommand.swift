import ArgumentParser
import Checkpoint
import EpochStore

struct PruneCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "prune", abstract: "Remove the epochs that no rule keeps.",
    discussion: """
      What any rule keeps stays; of a minute, hour, day, week, month or year the newest epoch is kept, for as many of them \
      as asked, those without an epoch not counted. Pinned epochs stay. Without a rule nothing is removed but what \
      interrupted takes left. Younger epochs are never harmed: what they need of a removed one is kept.
      """)

  @Argument(help: "Name or uuid of a guest; all guests when left out.") var vm: String?
  @OptionGroup var keep: KeepOptions
  @Flag(name: [.long, .customShort("n")], help: "Only show what would be removed.") var dryRun = false
  @Flag(help: "Do not ask; needed without a terminal.") var yes = false
  @OptionGroup var common: CommonOptions

  func run() throws {
    let plans = try common.engine.prunePlans(vm, keep.policy)
    for plan in plans { warn(plan) }
    if !common.json { plans.forEach(PruneReport.show) }
    if dryRun { return try report(plans.map { PruneReport($0, nil) }) }
    try confirm(plans)
    var reports: [PruneReport] = []
    var failures: [(error: any Error, text: String)] = []
    for plan in plans {
      do {
        let pruned = try common.engine.prune(plan)
        reports.append(PruneReport(plan, pruned))
        if !common.json { PruneReport.show(pruned, plan.guest) }
        if let problem = pruned.poolProblem {
          let partly = PartlyDone(
            description:
              "\(plan.guest): epochs were removed, their disks' snapshots not yet: \(problem); prune again then")
          failures.append((partly, partly.description))
        }
      } catch {
        failures.append((error, "\(plan.guest): \(error)"))
      }
    }
    if !reports.isEmpty { try report(reports) }
    guard let first = failures.first else { return }
    for failure in failures.dropFirst() { Terminal.error("ckpt: \(failure.text)") }
    throw reports.isEmpty ? first.error : PartlyDone(description: first.text)
  }

  private func report(_ reports: [PruneReport]) throws { if common.json { try Terminal.printJSON(reports) } }

  private func warn(_ plan: PrunePlan) {
    for damaged in plan.overview.damaged { Terminal.error("ckpt: epoch \(damaged.epoch): \(damaged.error)") }
    for (epoch, error) in plan.overview.unreadableMarks.sorted(by: { $0.key < $1.key }) {
      Terminal.error("ckpt: epoch \(epoch): \(error)")
    }
  }

  private func confirm(_ plans: [PrunePlan]) throws {
    let losses = plans.filter { !$0.removed.isEmpty }
    guard !losses.isEmpty else { return }
    let what = losses.map { "\($0.removed.count) of '\($0.guest)'" }.joined(separator: ", ")
    try Terminal.confirm("Epochs are removed for good: \(what).", yes: yes)
  }
}

/// Something was done and something was not.
struct PartlyDone: Error, CustomStringConvertible {
  let description: String
}

/// How a plan, and what came of it, is printed.
private struct PruneReport: Encodable {
  struct Epoch: Encodable {
    let epoch: Int
    let time: String?
    let keep: Bool
    let reasons: [String]
  }

  struct Pool: Encodable {
    let pool: String
    let snapshots, inUse: Int
    let freedBytes: UInt64

    enum CodingKeys: String, CodingKey {
      case pool, snapshots
      case inUse = "in_use"
      case freedBytes = "freed_bytes"
    }
  }

  let guest, uuid: String
  let epochs: [Epoch]
  let dryRun: Bool
  let removed: [Int]
  let freedBytes, heldBytes: UInt64
  let pools: [Pool]
  let notes: [String]

  enum CodingKeys: String, CodingKey {
    case guest, uuid, epochs, removed, pools, notes
    case dryRun = "dry_run"
    case freedBytes = "freed_bytes"
    case heldBytes = "held_bytes"
  }

  /// - Parameter pruned: nil for a plan that is only shown.
  init(_ plan: PrunePlan, _ pruned: Pruned?) {
    (guest, uuid, dryRun) = (plan.guest, plan.uuid, pruned == nil)
    epochs = Self.epochs(plan)
    removed = pruned?.removal.epochs ?? plan.removed
    (freedBytes, heldBytes) = (pruned?.freedBytes ?? 0, pruned?.heldBytes ?? 0)
    pools = (pruned?.pools ?? []).map {
      Pool(pool: $0.pool, snapshots: $0.snapshots, inUse: $0.inUse, freedBytes: $0.freedBytes)
    }
    notes = (pruned?.compaction.notes ?? []) + (pruned?.poolProblem.map { [$0] } ?? [])
  }

  private static func epochs(_ plan: PrunePlan) -> [Epoch] {
    let times = Dictionary(uniqueKeysWithValues: plan.overview.epochs.map { ($0.epoch, $0.time.description) })
    return plan.verdicts.map {
      Epoch(epoch: $0.epoch, time: times[$0.epoch], keep: $0.isKept, reasons: $0.reasons.map(\.description))
    }
  }

  static func show(_ plan: PrunePlan) {
    if plan.verdicts.isEmpty { return }
    print("\(plan.guest) (\(plan.uuid))")
    let rows = epochs(plan).map {
      [String($0.epoch), $0.time ?? "unknown", $0.keep ? "keep" : "remove", $0.reasons.joined(separator: ", ")]
    }
    Terminal.printTable([["EPOCH", "TIME", "", "REASON"]] + rows)
  }

  static func show(_ pruned: Pruned, _ guest: String) {
    let removed = pruned.removal.epochs.count
    var line =
      "\(guest): \(removed) epoch\(removed == 1 ? "" : "s") removed, \(Quantity.bytes(pruned.freedBytes)) freed in the store"
    if pruned.heldBytes > 0 { line += ", \(Quantity.bytes(pruned.heldBytes)) kept because younger epochs need it" }
    for pool in pruned.pools {
      line += "; \(Quantity.bytes(pool.freedBytes)) freed in pool \(pool.pool) (\(pool.snapshots) snapshots)"
      if pool.inUse > 0 { line += ", \(pool.inUse) snapshots are in use and go later" }
    }
    print(line)
    for note in pruned.compaction.notes { print("\(guest): \(note)") }
  }
}
