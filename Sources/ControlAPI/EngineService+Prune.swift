import Checkpoint
import EpochStore

extension EngineService {
  public func planPrune(_ request: PrunePlanRequest, _ call: Call) throws -> [PrunePlanAnswer] {
    let plans = try engine.prunePlans(request.guest, request.keep).map { plan in
      PrunePlanAnswer(report: PruneReport(plan, nil), warnings: plan.warnings)
    }
    return try plans
      + unreadable(request.guest).map { PrunePlanAnswer(report: PruneReport($0), warnings: ["\($0.error)"]) }
  }

  /// Guests of whom nothing can be removed, where all are meant.
  private func unreadable(_ guest: String?) throws -> [UnreadableFolder] {
    try guest == nil ? engine.unreadableFolders() : []
  }

  /// What fails for one guest is told in the answer, and keeps nothing of another; told to stop, it tells what was done until then.
  public func prune(_ request: PruneRequest, _ call: Call) throws -> PruneAnswer {
    var reports: [PruneReport] = []
    var failures: [PruneAnswer.Failure] = []
    for plan in try engine.prunePlans(request.guest, request.keep) {
      do { try call.mayGoOn() } catch {
        guard !reports.isEmpty || !failures.isEmpty else { throw error }
        failures.append(.init(guest: plan.guest, error: ControlFailure(error)))
        return PruneAnswer(reports: reports, failures: failures)
      }
      do {
        let pruned = try engine.prune(
          plan, only: request.agreed.map { Set($0[plan.uuid] ?? []) }, budget: request.budget,
          cancellation: call.cancellation)
        let report = PruneReport(plan, pruned)
        reports.append(report)
        call.report(.pruned(report))
        if let problem = pruned.poolProblem {
          let message = "epochs were removed, their disks' snapshots not yet: \(problem); prune again then"
          failures.append(.init(guest: plan.guest, error: ControlFailure(message: message, status: .partlyDone)))
        }
      } catch {
        failures.append(.init(guest: plan.guest, error: ControlFailure(error)))
      }
    }
    failures += try unreadable(request.guest).map {
      PruneAnswer.Failure(guest: $0.uuid, error: ControlFailure($0.error))
    }
    return PruneAnswer(reports: reports, failures: failures)
  }
}

extension PrunePlan {
  fileprivate var warnings: [String] {
    overview.damaged.map { "epoch \($0.epoch): \($0.error)" }
      + overview.unreadableMarks.sorted { $0.key < $1.key }.map { "epoch \($0.key): \($0.value)" }
  }
}

extension PruneReport {
  /// Nothing is planned for a guest whose epochs cannot be read.
  fileprivate init(_ folder: UnreadableFolder) {
    self.init(
      guest: folder.uuid, uuid: folder.uuid, epochs: [], dryRun: true, removed: [], freedBytes: 0, heldBytes: 0,
      pools: [], notes: [])
  }

  /// - Parameter pruned: nil for a plan that is only shown.
  fileprivate init(_ plan: PrunePlan, _ pruned: Pruned?) {
    let times = Dictionary(uniqueKeysWithValues: plan.overview.epochs.map { ($0.epoch, $0.time.description) })
    self.init(
      guest: plan.guest, uuid: plan.uuid,
      epochs: plan.verdicts.map {
        Epoch(epoch: $0.epoch, time: times[$0.epoch], keep: $0.isKept, reasons: $0.reasons.map(\.description))
      },
      dryRun: pruned == nil, removed: pruned?.removal.epochs ?? plan.removed, freedBytes: pruned?.freedBytes ?? 0,
      heldBytes: pruned?.heldBytes ?? 0,
      pools: (pruned?.pools ?? []).map(Pool.init),
      notes: (pruned?.notes ?? []) + (pruned?.poolProblem.map { [$0] } ?? []))
  }
}
