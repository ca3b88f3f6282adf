import ArgumentParser
import Checkpoint
import Glibc

/// The guest's xl configuration, which is changed only when told to.
struct XLFileOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp("The guest's xl configuration (default /etc/xen/NAME.cfg where it exists).", valueName: "file"),
    completion: .file())
  var config: String?
  @Flag(help: "Write the disks' new paths into the guest's xl configuration; else they are only shown.")
  var writeConfig = false

  /// A name that was mistyped is told before anything is done.
  func requireReadable() throws {
    guard let config else { return }
    guard access(config, R_OK) == 0 else {
      throw UsageRefused(
        description:
          "\(config): \(String(cString: strerror(errno))); name the guest's xl configuration; nothing was changed")
    }
  }

  /// What became of the file.
  struct Outcome {
    var isWritten = false
    /// For people: what was written, or is to be.
    var lines: [String]
    /// Why there was nothing to change though it was to be.
    var note: String?
    /// Why it could not be changed though it was to be.
    var failure: (any Error)?
  }

  /// Finds the lines that name old paths, and changes them when told to.
  func rename(_ paths: [(old: String, new: String)], guest: String) -> Outcome {
    guard !paths.isEmpty else { return Outcome(lines: []) }
    let path = config ?? XLFile.usualPath(of: guest)
    let byHand = paths.map { "in the guest's xl configuration, write \($0.new) in place of \($0.old)" }
    guard access(path, F_OK) == 0 else {
      let note = "there is no \(path); name the guest's xl configuration with --config"
      return Outcome(lines: byHand, note: writeConfig ? note : nil)
    }
    let file: XLFile
    do { file = try XLFile(path: path) } catch {
      return Outcome(lines: byHand, failure: writeConfig ? error : nil)
    }
    let changes = file.changes(paths)
    guard !changes.isEmpty else {
      let note = "\(path) names none of \(paths.map(\.old).joined(separator: ", ")); it was not changed"
      return Outcome(lines: byHand, note: writeConfig ? note : nil)
    }
    return write(changes, to: file)
  }

  private func write(_ changes: [XLFile.Line], to file: XLFile) -> Outcome {
    var outcome = Outcome(lines: changes.map { "\(file.path):\($0.number): write instead: \($0.text)" })
    guard writeConfig else { return outcome }
    do { try file.write(changes) } catch {
      outcome.failure = error
      return outcome
    }
    return Outcome(isWritten: true, lines: changes.map { "\(file.path):\($0.number): is now: \($0.text)" })
  }
}
