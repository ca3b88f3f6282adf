import ArgumentParser
import Checkpoint
import Glibc

/// The guest's xl configuration, which is changed only when told to.
struct XLFileOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp("The guest's xl configuration (default /etc/xen/NAME.cfg where it exists).", valueName: "file"),
    completion: .file())
  var config: String?
  @Flag(
    help: "Write the new paths, and for ckpt adopt the uuid where none stands, into it; else they are only shown.")
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
    /// Why there was nothing to change though it was to be; another uuid than the guest's.
    var notes: [String] = []
    /// Why it could not be changed though it was to be.
    var failure: (any Error)?
  }

  /// Finds the lines that name old paths, and changes them when told to.
  ///
  /// - Parameter uuid: what a guest that is known by it is to keep: a file without one gets it.
  func rename(_ paths: [(old: String, new: String)], guest: String, uuid: String? = nil) -> Outcome {
    guard !paths.isEmpty else { return Outcome(lines: []) }
    let path = config ?? XLFile.usualPath(of: guest)
    let renames = paths.map { "in the guest's xl configuration, write \($0.new) in place of \($0.old)" }
    let byHand =
      renames + (uuid.map { ["and there, if it has no uuid, \(Self.reason): \(XLFile.setting(uuid: $0))"] } ?? [])
    guard access(path, F_OK) == 0 else {
      let note = "there is no \(path); name the guest's xl configuration with --config"
      return Outcome(lines: byHand, notes: writeConfig ? [note] : [])
    }
    let file: XLFile
    do { file = try XLFile(path: path) } catch {
      return Outcome(lines: byHand, failure: writeConfig ? error : nil)
    }
    let changes = file.changes(paths)
    // A file that names neither the old paths nor the new ones is another guest's: it must not get this one's uuid.
    let isOurs = !changes.isEmpty || !file.changes(paths.map { (old: $0.new, new: $0.old) }).isEmpty
    var outcome = write(changes, isOurs && file.uuid == nil ? uuid.map(file.line(uuid:)) : nil, to: file)
    if changes.isEmpty {
      outcome.lines = (isOurs ? renames : byHand) + outcome.lines
      let unchanged = outcome.isWritten ? "" : "; it was not changed"
      let note = "\(path) names none of \(paths.map(\.old).joined(separator: ", "))\(unchanged)"
      if writeConfig { outcome.notes.append(note) }
    }
    if let uuid, let other = file.uuid, other.lowercased() != uuid {
      outcome.notes.append(
        "\(path) has uuid \(other), the guest runs with \(uuid), and is another one from its next xl create on; "
          + "that line stays as it is")
    }
    return outcome
  }

  private func write(_ changes: [XLFile.Line], _ new: XLFile.Line?, to file: XLFile) -> Outcome {
    let added = new.map { ["\(file.path):\($0.number): add, \(Self.reason): \($0.text)"] } ?? []
    var outcome = Outcome(lines: changes.map { "\(file.path):\($0.number): write instead: \($0.text)" } + added)
    let written = changes + [new].compactMap(\.self)
    guard writeConfig, !written.isEmpty else { return outcome }
    do { try file.write(changes, adding: new) } catch {
      outcome.failure = error
      return outcome
    }
    return Outcome(isWritten: true, lines: written.map { "\(file.path):\($0.number): is now: \($0.text)" })
  }

  /// Why a uuid is to stand there.
  private static let reason = "or each xl create makes another guest of it"
}
