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
    case let recovered as RecoverAnswer: text(of: recovered.lines + recovered.open)
    case let verified as [VerifiedAnswer]:
      "\(verified.count) epochs, \(verified.count { !$0.isSound }) of them not sound"
    case let pruned as PruneAnswer:
      "\(pruned.reports.reduce(0) { $0 + $1.removed.count }) epochs removed"
        + pruned.failures.map { "; \($0.guest): \($0.error)" }.joined()
    case let renamed as RenameAnswer: "it is now called \(renamed.name)"
    case let removed as RemoveAnswer: text(of: removed)
    default: "done"
    }
  }

  private static func text(of lines: [String]) -> String {
    lines.isEmpty ? "nothing to do" : lines.joined(separator: "; ")
  }

  private static func text(of restored: RestoreAnswer) -> String {
    if restored.dryRun { return "epoch \(restored.epoch) could be restored; nothing was done" }
    return "epoch \(restored.epoch) "
      + (restored.domain.map { "runs as domain \($0)" } ?? "has its disks back")
      + (restored.plan.clone.map { ", the clone \($0)" } ?? "")
      + (restored.safetyEpoch.map { "; what was before is epoch \($0)" } ?? "")
  }

  private static func text(of removed: RemoveAnswer) -> String {
    let numbers = removed.removed.map(String.init).joined(separator: ", ")
    var text = (removed.dryRun ? "would remove " : "removed ") + (numbers.isEmpty ? "no epoch" : "epochs \(numbers)")
    if removed.folderRemoved == true { text += " and the guest's folder" }
    if let problem = removed.poolProblem { text += "; snapshots are left in the pools: \(problem)" }
    return text
  }
}
