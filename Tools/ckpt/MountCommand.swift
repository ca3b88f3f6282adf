import ArgumentParser
import Checkpoint
import EpochStore

struct MountCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "mount",
    abstract: "Show a disk of an epoch as a read-only block device, or mount it; alone, show what is mounted.",
    discussion: """
      Without --at the device is the disk bit for bit. With it the file system's journal is replayed, as after a crash, in a \
      snapshot that ckpt umount throws away, and the mount is read-only. The epoch never changes, and is not removed meanwhile. \
      A file system that a guest made is read by dom0's kernel: of a guest that you do not trust, take the device into another \
      guest instead.
      Partitions of the device get devices of their own by `losetup -fP --show -r DEVICE`, which takes no writes: `mount -o \
      ro,noload` (XFS: ro,norecovery) mounts one, without what its journal holds. `losetup -d` takes them away before ckpt umount.
      """)

  @Argument(help: "Name or uuid of the guest.", completion: .guests) var vm: String?
  @Argument(help: EpochArgument.help, transform: EpochArgument.parse) var epoch: EpochReference?
  @Argument(help: "Name of the disk in the guest, like xvda.") var disk: String?
  @Option(help: ArgumentHelp("Folder to mount it at.", valueName: "dir"), completion: .directory) var at: String?
  @OptionGroup var common: CommonOptions

  func validate() throws {
    guard vm == nil || disk != nil else { throw ValidationError("Name guest, epoch and disk, or nothing.") }
    guard at == nil || disk != nil else { throw ValidationError("--at needs guest, epoch and disk.") }
  }

  func run() throws {
    guard let vm, let epoch, let disk else { return try list() }
    let view = try common.engine.mount(vm, epoch: epoch, disk: disk, at: at)
    if common.json { return try Terminal.printJSON(ViewReport(view, common.guestNames)) }
    Terminal.say(at ?? view.path)
  }

  private func list() throws {
    let views = try common.engine.mounted()
    let names = common.guestNames
    if common.json { return try Terminal.printJSON(views.map { ViewReport($0, names) }) }
    let rows = views.map { view in
      [
        names[view.guestUUID] ?? view.guestUUID, String(view.epoch), view.vdev, view.path,
        view.mounts.joined(separator: " "),
      ]
    }
    Table.show([["GUEST", "EPOCH", "DISK", "DEVICE", "MOUNTED AT"]] + rows)
  }
}

struct UnmountCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "umount", abstract: "Take away what ckpt mount made.",
    discussion: """
      The disk is unmounted wherever it is mounted, then its device is removed.
      Exit status: that of the first one that could not be taken away; the others are tried all the same.
      """)

  @Argument(help: "Name or uuid of the guest.", completion: .guests) var vm: String?
  @Argument(help: EpochArgument.help, transform: EpochArgument.parse) var epoch: EpochReference?
  @Argument(help: "Name of the disk in the guest, like xvda.") var disk: String?
  @Flag(help: "All that there is.") var all = false
  @OptionGroup var common: CommonOptions

  func validate() throws {
    guard all ? vm == nil : disk != nil else { throw ValidationError("Name guest, epoch and disk, or say --all.") }
  }

  func run() throws {
    var gone: [EpochView] = []
    var failures: [any Error] = []
    for view in try views() {
      do {
        try common.engine.unmount(view)
        gone.append(view)
      } catch { failures.append(error) }
    }
    if common.json {
      let names = common.guestNames
      try Terminal.printJSON(gone.map { ViewReport($0, names) })
    } else {
      for view in gone { Terminal.say("\(view.path) is gone") }
    }
    guard let first = failures.first else { return }
    for failure in failures.dropFirst() { Terminal.error("ckpt: \(failure)") }
    throw first
  }

  private func views() throws -> [EpochView] {
    guard let vm, let epoch, let disk else { return try common.engine.mounted() }
    return [try common.engine.mounted(vm, epoch: epoch, disk: disk)]
  }
}

extension CommonOptions {
  /// What the guests of the store are called, by uuid, as far as that can be read.
  fileprivate var guestNames: [String: String] {
    let guests = (try? engine.existingStore().guests()) ?? []
    return Dictionary(uniqueKeysWithValues: guests.filter { !$0.name.isEmpty }.map { ($0.uuid, $0.name) })
  }
}

struct ViewReport: Encodable {
  /// nil when the store knows it no more.
  let guest: String?
  let uuid, disk, device: String
  let epoch: Int
  let readOnly: Bool
  let mounts: [String]

  enum CodingKeys: String, CodingKey {
    case guest, uuid, disk, device, epoch, mounts
    case readOnly = "read_only"
  }
}

extension ViewReport {
  fileprivate init(_ view: EpochView, _ names: [String: String]) {
    guest = names[view.guestUUID]
    (uuid, disk, device, epoch) = (view.guestUUID, view.vdev, view.path, view.epoch)
    (readOnly, mounts) = (view.isReadOnly, view.mounts)
  }
}
