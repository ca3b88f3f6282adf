import ArgumentParser
import Checkpoint
import EpochStore
import Glibc

struct ExportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "export", abstract: "Write an epoch to a file: for another host, for xl, or for debuggers.",
    discussion: """
      bundle (or --bundle): memory and disks of the epoch, for `ckpt import` on another host. With --since only what differs from an \
      older epoch, which has to be there already. Read-only disks do not come. An export that broke off is gone on with by the same \
      command with --resume, as long as the guest is called the same: what the file has is checked first. Ctrl-C ends it in order, \
      and leaves the file for that.
      xl: the file that `xl restore` reads. Disks are not in it: roll them back with ckpt, or the guest finds other disks than its \
      memory knows.
      core: an ELF core file, for crash with the vmlinux of the guest's kernel, and for gdb. Pages of zeros are holes in it. Of a \
      PV guest gdb shows the registers, and crash all.
      """)

  enum Format: String, ExpressibleByArgument, CaseIterable { case xl, core, bundle }

  @Argument(help: "Name or uuid of the guest.", completion: .guests) var vm: String
  @Argument(help: EpochArgument.help, transform: EpochArgument.parse) var epoch: EpochReference
  @Argument(help: "File to make, or - for standard output.", completion: .file()) var file = "-"
  @Option(help: "What to write; xl when left out.") var format: Format?
  @Flag(help: "As --format bundle.") var bundle = false
  @Option(
    help: ArgumentHelp("Write only what differs from this older epoch (bundle).", valueName: "epoch"),
    transform: EpochArgument.parse) var since: EpochReference?
  @Flag(help: "Go on with the file that an earlier export left (bundle).") var resume = false
  @OptionGroup var common: CommonOptions

  private var chosen: Format { format ?? (bundle ? .bundle : .xl) }

  func validate() throws {
    guard !bundle || chosen == .bundle else {
      throw ValidationError("--bundle and another --format exclude each other.")
    }
    guard chosen == .bundle || (since == nil && !resume) else {
      throw ValidationError("--since and --resume are for bundles: say --bundle.")
    }
    guard !resume || file != "-" else { throw ValidationError("--resume needs the file.") }
  }

  func run() throws {
    guard file != "-" else {
      guard isatty(STDOUT_FILENO) == 0 else {
        throw UsageRefused(description: "an epoch is binary; name a file or redirect the output")
      }
      return try write(to: STDOUT_FILENO)
    }
    if chosen == .bundle { return try BundleOutput(file: file, resume: resume, json: common.json).write(export) }
    try NewFile(file).fill(write)
    if common.json { try Terminal.printJSON(["file": file, "format": chosen.rawValue]) }
  }

  private func write(to descriptor: Int32) throws {
    switch chosen {
    case .xl: try common.engine.export(vm, epoch: epoch, to: descriptor)
    case .core:
      if let missing = try common.engine.exportCore(vm, epoch: epoch, to: descriptor) {
        Terminal.error("ckpt: \(missing)")
      }
    case .bundle: _ = try export(to: descriptor)
    }
  }

  private func export(to descriptor: Int32) throws -> ExportedBundle {
    let cancellation = TakeCancellation()
    Interrupts.cancel(cancellation, breaksCalls: true)
    var shown: UInt64 = 0
    let exported = try common.engine.exportBundle(
      vm, epoch: epoch, since: since, to: descriptor, file: file, resume: resume, cancellation: cancellation
    ) { what, bytes in
      guard bytes >= shown + (16 << 20) else { return }
      shown = bytes
      Terminal.status("\(vm): \(what), \(Quantity.bytes(bytes)) so far")
    }
    Terminal.status("")
    return exported
  }
}
