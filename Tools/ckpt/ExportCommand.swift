import ArgumentParser
import Checkpoint
import EpochStore
import Glibc

struct ExportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "export", abstract: "Write an epoch's memory as the file that `xl restore` reads.",
    discussion: "Disks are not in it: roll them back with ckpt, or the guest finds other disks than its memory knows.")

  @Argument(help: "Name or uuid of the guest.") var vm: String
  @Argument(help: EpochArgument.help, transform: EpochArgument.parse) var epoch: EpochReference
  @Argument(help: "File to make, or - for standard output.") var file = "-"
  @OptionGroup var common: CommonOptions

  func run() throws {
    guard file != "-" else {
      guard isatty(STDOUT_FILENO) == 0 else {
        throw UsageRefused(description: "an epoch is binary; name a file or redirect the output")
      }
      return try common.engine.export(vm, epoch: epoch, to: STDOUT_FILENO)
    }
    // The image holds the guest's secrets.
    let descriptor = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      throw UsageRefused(description: "cannot make \(file): \(String(cString: strerror(errno)))")
    }
    defer { close(descriptor) }
    do { try common.engine.export(vm, epoch: epoch, to: descriptor) } catch {
      unlink(file)
      throw error
    }
    if common.json { try Terminal.printJSON(["file": file]) }
  }
}
