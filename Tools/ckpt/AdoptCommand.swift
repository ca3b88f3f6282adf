import ArgumentParser
import Checkpoint
import Glibc

struct AdoptCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "adopt", abstract: "Bring a running guest's disks, volumes of LVM, into a pool; it notices nothing.",
    discussion: """
      The data stay where they are: the disk reads from the old volume what it has not written since, and nothing may write \
      there any more. LVM is told by a tag, and not to activate the volume at boot; `ckpt pool start` does. Tools that load \
      LVM's own table over ours (lvchange --refresh, lvresize, pvmove, lvcreate -s on this volume) must be kept away from \
      it; each take looks for that. Volumes of an LVM thin pool are adopted in the same way, as origins outside of the pool.
      """)

  @Argument(help: "Name, id or uuid of the guest.", completion: .guests) var vm: String
  @Argument(help: "Names of its disks, like xvda; all writable ones when left out.") var disks: [String] = []
  @Option(help: "Pool; may be left out when there is only one.") var pool: String?
  @OptionGroup var xl: XLFileOptions
  @OptionGroup var common: CommonOptions

  func run() throws {
    _ = try common.engine.existingStore()
    try xl.requireReadable()
    let (guest, adopted) = try common.engine.adopt(vm, named: disks, pool: pool)
    // Those that were adopted before as well: whoever says --write-config later means all of them.
    let all = (try? common.engine.release(guest, named: disks).disks) ?? []
    let written = try xl.rename(all.map { ($0.oldPath, $0.poolPath) }, guest: guest, quiet: common.json)
    if common.json {
      return try Terminal.printJSON(
        MovedDisks(guest: guest, disks: adopted.map(Disk.init), configurationWritten: written))
    }
    if adopted.isEmpty { print("\(guest): these disks are in a pool already") }
    for disk in adopted {
      print(
        "\(guest) \(disk.vdev): /dev/\(disk.volume) is adopted by pool \(disk.pool), requests waited for "
          + Quantity.milliseconds(Double(disk.heldNanoseconds) / 1e6))
    }
  }

  struct Disk: Encodable {
    let vdev, pool, volume, path: String
    let oldPath: String
    let sizeBytes: UInt64
    let heldMs: Double

    enum CodingKeys: String, CodingKey {
      case vdev, pool, volume, path
      case oldPath = "old_path"
      case sizeBytes = "size_bytes"
      case heldMs = "held_ms"
    }

    init(_ disk: AdoptedDisk) {
      (vdev, pool, volume, path, oldPath) = (disk.vdev, disk.pool, disk.volume, disk.path, disk.oldPath)
      (sizeBytes, heldMs) = (disk.sizeBytes, Double(disk.heldNanoseconds) / 1e6)
    }
  }
}

struct ReleaseCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "release",
    abstract: "Give adopted disks back to LVM, with their newest content; the guest must be shut down.",
    discussion: """
      Reads the disk and the old volume from start to end and copies what differs. The guest's epochs cannot be restored any \
      more afterwards: they read from the old volume what they do not hold. A release that was interrupted goes on when it is \
      run again; `ckpt pool start` makes the disk usable until then, with its newest content.
      """)

  @Argument(help: "Name of the guest.", completion: .guests) var vm: String
  @Argument(help: "Names of its disks, like xvda; all adopted ones when left out.") var disks: [String] = []
  @Flag(help: "Copy nothing: keep the volumes as they are, lose what was written since the adoption.") var discard =
    false
  @Flag(help: "Do not ask; needed without a terminal.") var yes = false
  @OptionGroup var xl: XLFileOptions
  @OptionGroup var common: CommonOptions

  func run() throws {
    try xl.requireReadable()
    let release = try common.engine.release(vm, named: disks)
    let names = release.disks.map(\.vdev).joined(separator: ", ")
    let loses = discard ? " WHAT WAS WRITTEN TO \(names) SINCE THE ADOPTION IS LOST." : ""
    let epochs =
      release.epochs.isEmpty
      ? "Disks \(names) of \(vm) leave their pool."
      : "Disks \(names) of \(vm) leave their pool; its \(release.epochs.count) epochs with them cannot be restored any more."
    try Terminal.confirm(epochs + loses, yes: yes)
    let copied = try release.perform(discard: discard) { vdev, bytes in
      Terminal.status("\(vdev): \(Quantity.bytes(bytes)) compared")
    }
    Terminal.status("")
    let written = try xl.rename(
      release.disks.map { ($0.poolPath, $0.oldPath) }, guest: vm, quiet: common.json)
    if common.json {
      return try Terminal.printJSON(
        MovedDisks(
          guest: vm, disks: zip(release.disks, copied).map { Disk(vdev: $0.vdev, path: $0.path, copiedBytes: $1) },
          configurationWritten: written))
    }
    for (disk, bytes) in zip(release.disks, copied) {
      print("\(vm) \(disk.vdev): \(disk.path) is the whole disk again, \(Quantity.bytes(bytes)) copied back")
    }
  }

  struct Disk: Encodable {
    let vdev, path: String
    let copiedBytes: UInt64

    enum CodingKeys: String, CodingKey {
      case vdev, path
      case copiedBytes = "copied_bytes"
    }
  }
}

/// What became of a guest's disks, as JSON.
struct MovedDisks<Disk: Encodable>: Encodable {
  let guest: String
  let disks: [Disk]
  let configurationWritten: Bool

  enum CodingKeys: String, CodingKey {
    case guest, disks
    case configurationWritten = "configuration_written"
  }
}

/// The guest's xl configuration, which is changed only when told to.
struct XLFileOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp("The guest's xl configuration (default /etc/xen/NAME.cfg where it exists).", valueName: "file"))
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

  /// Shows the lines that name old paths, and changes them when told to.
  ///
  /// - Returns: whether the file was changed.
  func rename(_ paths: [(old: String, new: String)], guest: String, quiet: Bool) throws -> Bool {
    guard !paths.isEmpty else { return false }
    let path = config ?? XLFile.usualPath(of: guest)
    let file = try access(path, F_OK) == 0 ? XLFile(path: path) : nil
    let changes = file?.changes(paths) ?? []
    if writeConfig, let file, !changes.isEmpty {
      try file.write(changes)
      if !quiet { for change in changes { print("\(file.path):\(change.number): is now: \(change.text)") } }
      return true
    }
    if writeConfig {
      Terminal.error(
        "ckpt: note: \(path) names none of \(paths.map(\.old).joined(separator: ", ")); it was not changed")
    }
    guard !quiet else { return false }
    if changes.isEmpty {
      for (old, new) in paths { print("in the guest's xl configuration, write \(new) in place of \(old)") }
    }
    for change in changes { print("\(file?.path ?? path):\(change.number): write instead: \(change.text)") }
    return false
  }
}
