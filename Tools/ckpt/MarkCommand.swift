import ArgumentParser
import ControlAPI
import EpochStore

struct MarkCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "mark", abstract: "Pin an epoch, so that no policy removes it, or give it tags for --keep-tag.")

  @Argument(help: "Name or uuid of the guest.") var vm: String
  @Argument(help: "Number of the epoch.") var epoch: Int
  @Flag(inversion: .prefixedNo, help: "Whether policies must keep the epoch.") var pin: Bool?
  @Option(help: "Add a tag; may be given more than once.") var tag: [String] = []
  @Option(help: "Take a tag away; may be given more than once.") var untag: [String] = []
  @OptionGroup var common: CommonOptions

  func validate() throws {
    guard pin != nil || !tag.isEmpty || !untag.isEmpty else {
      throw ValidationError("Say what to change: --pin, --no-pin, --tag TAG or --untag TAG.")
    }
    do { _ = try EpochMarks(tags: tag) } catch { throw ValidationError("\(error)") }
  }

  func run() throws {
    let marks = try common.service().mark(
      MarkRequest(guest: vm, epoch: epoch, pin: pin, tag: tag, untag: untag), Call())
    if common.json { return try Terminal.printJSON(marks) }
    let words = (marks.pinned ? ["pinned"] : []) + marks.tags.map { "tag \($0)" }
    print("\(vm): epoch \(epoch): \(words.isEmpty ? "no marks" : words.joined(separator: ", "))")
  }
}
