import ArgumentParser
import Checkpoint
import EpochStore

struct ListCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "List epochs.",
    discussion: """
      CHECK is the last verification of an epoch: quick, subset, full, or that it is damaged. See also ckpt show.
      Exit status 3 when the folder of a guest cannot be read; the others are listed all the same.
      """)

  @Argument(help: "Name or uuid of a guest; all guests when left out.", completion: .guests) var vm: String?
  @OptionGroup var common: CommonOptions

  func run() throws {
    var unreadable: [UnreadableFolder] = []
    if common.json { try printJSON(&unreadable) } else { try show(&unreadable) }
    guard let first = unreadable.first else { return }
    for folder in unreadable.dropFirst() { Terminal.error("ckpt: \(folder.error)") }
    throw PartlyDone(description: "\(first.error)")
  }

  private func printJSON(_ unreadable: inout [UnreadableFolder]) throws {
    let lists = try common.engine.list(vm) { unreadable.append($0) }
    warn(lists.flatMap(\.damaged))
    try Terminal.printJSON(
      lists.flatMap { list in
        list.epochs.map {
          ManifestWithVerdict(manifest: $0, verdict: list.verdicts[$0.epoch], marks: list.marks[$0.epoch])
        }
      })
  }

  private func show(_ unreadable: inout [UnreadableFolder]) throws {
    let overviews = try common.engine.overview(vm) { unreadable.append($0) }
    warn(overviews.flatMap(\.damaged))
    let rows = overviews.flatMap { overview in
      overview.epochs.map { epoch in
        [
          epoch.guest, String(epoch.epoch), epoch.time.description, Quantity.milliseconds(epoch.pauseMs),
          Quantity.bytes(epoch.bytes), overview.verdicts[epoch.epoch]?.summary ?? "-", marks(of: epoch.epoch, overview),
        ]
      }
    }
    Table.show([["GUEST", "EPOCH", "TIME", "PAUSE", "SIZE", "CHECK", "MARKS"]] + rows)
  }

  private func marks(of epoch: Int, _ overview: EpochOverview) -> String {
    let words = ((overview.isPinned(epoch) ? ["pinned"] : []) + overview.tags(epoch)).joined(separator: ",")
    return [words, overview.marks[epoch]?.note ?? ""].filter { !$0.isEmpty }.joined(separator: " ")
  }

  private func warn(_ damaged: [DamagedEpoch]) {
    for damaged in damaged { Terminal.error("ckpt: epoch \(damaged.epoch): \(damaged.error)") }
  }
}
