import ArgumentParser
import Checkpoint
import Glibc

/// Every command and subcommand says its name, though the parser would make the same of the type's: it does so by reflection, for the
/// whole tree at each start, and that was nearly half of a start's instructions.
@main
struct Ckpt: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ckpt",
    abstract: "Light-weight checkpoints of running Xen guests: memory and disks of one instant.",
    discussion: """
      Exit status: 0 done, 1 failed, 3 partly done, 10 no such guest, epoch, pool, disk, schedule or store, or nothing to undo, \
      11 locked or busy, 12 this host, this guest's configuration or an argument does not allow it, or it was not confirmed, \
      64 wrong usage, 130 interrupted.
      """,
    subcommands: [
      StatusCommand.self, TakeCommand.self, RestoreCommand.self, UndoCommand.self, ListCommand.self, ShowCommand.self,
      ExportCommand.self, ImportCommand.self, VerifyCommand.self, RecoverCommand.self, PruneCommand.self,
      RemoveCommand.self,
      TagCommand.self, UntagCommand.self, PinCommand.self, UnpinCommand.self, NoteCommand.self, RenameCommand.self,
      DiffCommand.self, MountCommand.self, UnmountCommand.self, ScheduleCommand.self, PoolCommand.self,
      DiskCommand.self, AdoptCommand.self, ReleaseCommand.self, ConfigCommand.self, DoctorCommand.self,
    ])

  /// Like the parser's own `main`, but an error of ours is one line and has its documented status.
  static func main() {
    // A reader that goes away is an error of the write, not the end of the process; so is a file size limit.
    signal(SIGPIPE, SIG_IGN)
    signal(SIGXFSZ, SIG_IGN)
    do {
      var command = try parseAsRoot(EpochArgument.admitNegatives(Array(CommandLine.arguments.dropFirst())))
      try command.run()
    } catch let status as ExitStatus {
      // The command has said all there is to say.
      Glibc.exit(status.rawValue)
    } catch {
      guard let status = ExitStatus(error) else { refuse(error) }
      Terminal.error("ckpt: \(error)")
      Glibc.exit(status.rawValue)
    }
  }
}

extension Ckpt {
  /// What the parser says, of words as they were typed.
  fileprivate static func refuse(_ error: any Error) -> Never {
    let code = exitCode(for: error)
    // Help and completions, which go to standard output.
    if code.isSuccess { exit(withError: error) }
    Terminal.refusal(EpochArgument.typed(fullMessage(for: error)))
    Glibc.exit(code.rawValue)
  }
}

/// Options that every command has.
struct CommonOptions: ParsableArguments {
  @Option(help: "Folder that holds epochs and pools (also CKPT_STORE; default /var/lib/ckpt).", completion: .directory)
  var store: String?
  @Flag(help: "Print JSON.") var json = false
}
