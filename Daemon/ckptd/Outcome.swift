import Checkpoint
import ControlAPI
import EpochStore

/// The log's words for what came of an operation.
enum Outcome {
  static func text(of answer: some Sendable) -> String {
    switch answer {
    case let manifest as EpochManifest:
      "epoch \(manifest.epoch), pause \(manifest.pauseMs) ms, stop \(manifest.stopMs) ms, \(manifest.bytes) bytes"
    case let restored as RestoreAnswer: text(of: restored)
    case let recovered as RecoverAnswer:
      recovered.lines.isEmpty ? "nothing to do" : recovered.lines.joined(separator: "; ")
    case let verified as [VerifiedAnswer]:
      "\(verified.count) epochs, \(verified.count { !$0.isSound }) of them not sound"
    case let pruned as PruneAnswer:
      "\(pruned.reports.reduce(0) { $0 + $1.removed.count }) epochs removed"
        + pruned.failures.map { "; \($0.guest): \($0.error)" }.joined()
    case let renamed as RenameAnswer: "it is now called \(renamed.name)"
    case let removed as RemoveAnswer:
      (removed.dryRun ? "would remove " : "removed ")
        + "epochs \(removed.removed.map(String.init).joined(separator: ", "))"
        + (removed.poolProblem.map { "; snapshots are left in the pools: \($0)" } ?? "")
    default: "done"
    }
  }

  private static func text(of restored: RestoreAnswer) -> String {
    if restored.dryRun { return "epoch \(restored.epoch) could be restored; nothing was done" }
    return "epoch \(restored.epoch) "
      + (restored.domain.map { "runs as domain \($0)" } ?? "has its disks back")
      + (restored.plan.clone.map { ", the clone \($0)" } ?? "")
      + (restored.safetyEpoch.map { "; what was before is epoch \($0)" } ?? "")
  }
}
