import ArgumentParser
import Checkpoint
import EpochStore
import Glibc

struct ExportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "export", abstract: "Write an epoch's memory to a file, for xl or for debuggers.",
    discussion: """
      xl: the file that `xl restore` reads. Disks are not in it: roll them back with ckpt, or the guest finds other disks than its \
      memory knows.
      core: an ELF core file, for crash with the vmlinux of the guest's kernel, and for gdb. Pages of zeros are holes in it. Of a \
      PV guest gdb shows the registers, and crash all.
      """)

  enum Format: String, ExpressibleByArgument, CaseIterable { case xl, core }

  @Argument(help: "Name or uuid of the guest.", completion: .guests) var vm: String
  @Argument(help: EpochArgument.help, transform: EpochArgument.parse) var epoch: EpochReference
  @Argument(help: "File to make, or - for standard output.") var file = "-"
  @Option(help: "What to write.") var format = Format.xl
  @OptionGroup var common: CommonOptions

  func run() throws {
    guard file != "-" else {
      guard isatty(STDOUT_FILENO) == 0 else {
        throw UsageRefused(description: "an epoch is binary; name a file or redirect the output")
      }
      return try write(to: STDOUT_FILENO)
    }
    // The image holds the guest's secrets.
    let descriptor = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      throw UsageRefused(description: "cannot make \(file): \(String(cString: strerror(errno)))")
    }
    defer { close(descriptor) }
    do { try write(to: descriptor) } catch {
      unlink(file)
      throw error
    }
    if common.json { try Terminal.printJSON(["file": file, "format": format.rawValue]) }
  }

  private func write(to descriptor: Int32) throws {
    switch format {
    case .xl: try common.engine.export(vm, epoch: epoch, to: descriptor)
    case .core:
      if let missing = try common.engine.exportCore(vm, epoch: epoch, to: descriptor) {
        Terminal.error("ckpt: \(missing)")
      }
    }
  }
}
