import ArgumentParser
import Checkpoint
import EpochStore

struct ShowCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "show", abstract: "Show one epoch.")

  @Argument(help: "Name or uuid of the guest.", completion: .guests) var vm: String
  @Argument(help: EpochArgument.help, transform: EpochArgument.parse) var epoch: EpochReference
  @OptionGroup var common: CommonOptions

  func run() throws {
    let (manifest, verdict, marks) = try common.engine.show(vm, epoch: epoch)
    if common.json {
      return try Terminal.printJSON(ManifestWithVerdict(manifest: manifest, verdict: verdict, marks: marks))
    }
    var rows = [
      ["guest", "\(manifest.guest) (\(manifest.kind.rawValue), \(manifest.vcpus) vCPU)"],
      ["uuid", manifest.uuid],
      ["epoch", String(manifest.epoch)],
      ["time", manifest.time.description],
      ["memory", Quantity.bytes(manifest.memoryBytes)],
      ["pages", "\(manifest.pages) stored, \(manifest.zeroPages) zero"],
      ["size", "\(Quantity.bytes(manifest.bytes)) in \(manifest.file)"],
      ["suspended by", manifest.suspendPath],
      ["pause", Quantity.milliseconds(manifest.pauseMs)],
      ["handshake", Quantity.milliseconds(manifest.pauseMs - manifest.stopMs)],
      ["stop", Quantity.milliseconds(manifest.stopMs)],
      ["verified", verdict?.line ?? "never"],
    ]
    if let verdict, verdict.isDamaged { rows.append(["damage", verdict.damageText]) }
    rows += rowsOfMarks(marks)
    for disk in manifest.disks {
      let snapshot =
        disk.thinID.map { "pool \(disk.pool), thin id \($0)" }
        ?? (disk.isLeftOut ? "not part of the epoch" : "read-only, left alone")
      rows.append(["disk \(disk.vdev)", "\(disk.device): \(snapshot)"])
    }
    let order = Phase.allCases.map(\.rawValue)
    for (phase, milliseconds) in manifest.phases.sorted(by: { rank($0.key, order) < rank($1.key, order) }) {
      rows.append(["  \(phase)", Quantity.milliseconds(milliseconds)])
    }
    Table.show(rows)
    if let statistics = manifest.statistics { showStatistics(statistics) }
  }

  private func rowsOfMarks(_ marks: EpochMarks?) -> [[String]] {
    guard let marks else { return [["marks", "cannot be read, so no policy removes it"]] }
    return (marks.pinned ? [["pinned", "no policy removes it"]] : [])
      + (marks.tags.isEmpty ? [] : [["tags", marks.tags.joined(separator: ", ")]])
      + (marks.note.map { [["note", $0]] } ?? [])
  }

  private func showStatistics(_ statistics: TakeStatistics) {
    var rows = [["round", "pages", "copied", "unchanged", "torn", "absent", "dirtied", "time"]]
    for round in statistics.rounds {
      rows.append(
        [
          round.name, String(round.pages), String(round.copied), String(round.unchanged), String(round.torn),
          String(round.absent), String(round.dirtied), Quantity.milliseconds(round.ms),
        ])
    }
    print()
    Table.show(rows)
    print()
    let changes = statistics.reason.isEmpty ? statistics.changes : "\(statistics.changes): \(statistics.reason)"
    Table.show(
      [
        ["total", Quantity.milliseconds(statistics.totalMs)],
        ["before the first copy", Quantity.milliseconds(statistics.setupMs)],
        ["tracking", statistics.tracking],
        ["changes found by", changes],
        ["live copying ended", statistics.precopyEnd],
        [
          "copied",
          "\(size(statistics.transferredBytes)): \(size(statistics.precopyBytes)) live, \(size(statistics.freezeBytes)) while it froze, "
            + "\(size(statistics.pauseBytes)) in the pause",
        ],
        ["spilled in the pause", size(statistics.spilledBytes)],
        ["live rate", "\(size(Quantity.whole(statistics.bytesPerSecond)))/s"],
        [
          "dirty rate",
          "\(Quantity.whole(statistics.dirtyPagesPerSecond)) pages/s, log read \(statistics.dirtySyncs) times",
        ],
        [
          "of the copied pages",
          "\(statistics.normalPages) stored, \(statistics.zeroPages) zero, \(statistics.unchangedPages) known",
        ],
        ["stored again", "\(statistics.relocatedPages ?? 0) pages, so that fewer older files are needed"],
        ["guest memory", size(statistics.totalBytes)],
      ] + statistics.notes.map { ["note", $0] })
  }

  private func size(_ bytes: Int) -> String { Quantity.bytes(UInt64(max(0, bytes))) }

  /// Phases in their order, their steps after them.
  private func rank(_ phase: String, _ order: [String]) -> (Int, String) {
    (order.firstIndex(of: phase) ?? order.count, phase)
  }
}
