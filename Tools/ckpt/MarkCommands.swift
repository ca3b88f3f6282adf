import ArgumentParser
import ControlAPI
import EpochStore

struct TagCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tag", abstract: "Give an epoch a tag: a name for it, and for --keep-tag of ckpt prune.")

  @Argument(help: "Name or uuid of the guest.", completion: .guests) var vm: String
  @Argument(help: EpochArgument.help, transform: EpochArgument.parse) var epoch: EpochReference
  @Argument(help: "Up to 64 letters, digits, '.', '_' or '-'.") var tag: String
  @OptionGroup var common: CommonOptions

  func validate() throws {
    do { _ = try EpochMarks.unmarked.adding(tag: tag) } catch { throw ValidationError("\(error)") }
  }

  func run() throws { try common.mark(vm, epoch) { $0.tag = [tag] } }
}

struct UntagCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "untag", abstract: "Take a tag from an epoch.")

  @Argument(help: "Name or uuid of the guest.", completion: .guests) var vm: String
  @Argument(help: EpochArgument.help, transform: EpochArgument.parse) var epoch: EpochReference
  @Argument(help: "The tag.") var tag: String
  @OptionGroup var common: CommonOptions

  func run() throws { try common.mark(vm, epoch) { $0.untag = [tag] } }
}

struct PinCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pin", abstract: "Keep an epoch: no policy removes it, and ckpt remove wants --force.")

  @Argument(help: "Name or uuid of the guest.", completion: .guests) var vm: String
  @Argument(help: EpochArgument.help, transform: EpochArgument.parse) var epoch: EpochReference
  @OptionGroup var common: CommonOptions

  func run() throws { try common.mark(vm, epoch) { $0.pin = true } }
}

struct UnpinCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "unpin", abstract: "Let policies remove an epoch that was pinned.")

  @Argument(help: "Name or uuid of the guest.", completion: .guests) var vm: String
  @Argument(help: EpochArgument.help, transform: EpochArgument.parse) var epoch: EpochReference
  @OptionGroup var common: CommonOptions

  func run() throws { try common.mark(vm, epoch) { $0.pin = false } }
}

struct NoteCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "note", abstract: "Write down something about an epoch, in place of what was there.",
    discussion: "An empty text takes the note away.")

  @Argument(help: "Name or uuid of the guest.", completion: .guests) var vm: String
  @Argument(help: EpochArgument.help, transform: EpochArgument.parse) var epoch: EpochReference
  @Argument(help: "One line, at most 1000 bytes.") var text: String
  @OptionGroup var common: CommonOptions

  func validate() throws {
    do { _ = try EpochMarks.unmarked.noting(text) } catch { throw ValidationError("\(error)") }
  }

  func run() throws { try common.mark(vm, epoch) { $0.note = text } }
}

extension CommonOptions {
  /// Changes what is said of an epoch, and shows what is said then.
  fileprivate func mark(
    _ guest: String, _ epoch: EpochReference, _ change: (inout MarkRequest) -> Void
  ) throws {
    var request = MarkRequest(guest: guest, epoch: epoch)
    change(&request)
    let marks = try service().mark(request, Call())
    if json { return try Terminal.printJSON(marks) }
    let words =
      (marks.pinned ? ["pinned"] : []) + marks.tags.map { "tag \($0)" } + (marks.note.map { ["note: \($0)"] } ?? [])
    Terminal.say("\(guest): epoch \(marks.epoch): \(words.isEmpty ? "no marks" : words.joined(separator: ", "))")
  }
}
