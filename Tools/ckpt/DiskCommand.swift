import ArgumentParser
import Checkpoint

struct DiskCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "disk", abstract: "Guests' disks in the pools.", subcommands: [Create.self, List.self, Remove.self])

  struct Create: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "create",
      abstract: "Make a disk, empty or a copy; the last line printed is its device path for the xl config.",
      discussion: """
        With --from it gets the content of a partition, a disk, a volume or a raw file, which `ckpt adopt` cannot bring in. The guest must \
        be shut down. Blocks of zeros take no room in the pool. Both are read once more before the disk exists; whatever goes wrong, \
        also Ctrl-C, no disk is left. The old one is only read: keep it until the guest was seen to run on the new one. An image of \
        another format (qcow2, vmdk, vhd) is converted first: qemu-img convert -O raw.
        A disk in another pool is copied in the same way, under the name of a guest that has none such: that names the disk only. Epochs \
        stay with the old one.
        Give the guest a uuid there, too (/proc/sys/kernel/random/uuid has one): without it each xl create makes another guest \
        of it, without the epochs that it had.
        """)

    @Argument(help: "Name of the guest.", completion: .guests) var vm: String
    @Argument(help: "Name of the disk in the guest, like xvda.") var vdev: String
    @Option(help: "Size of an empty disk, like 10G.") var size: String?
    @Option(help: "Block device or raw file to copy.", completion: .file()) var from: String?
    @Option(help: "Pool; may be left out when there is only one.", completion: .pools) var pool: String?
    @OptionGroup var common: CommonOptions

    func validate() throws {
      guard (size == nil) != (from == nil) else { throw ValidationError("Name either --size SIZE or --from PATH.") }
    }

    func run() throws {
      let bytes = try size.map(Quantity.parseBytes)
      let disks = Disks(try common.engine.pools())
      let path: String
      if let from {
        path = try copy(from, disks)
      } else {
        path = try disks.create(guest: vm, vdev: vdev, size: bytes ?? 0, pool: pool)
      }
      guard common.json else {
        if let from { Terminal.say("\(from) is as it was; keep it until \(vm) was seen to run on the new disk:") }
        return Terminal.say(path)
      }
      if let entry = try disks.list().first(where: { $0.path == path }) { try Terminal.printJSON(View(entry)) }
    }

    private func copy(_ source: String, _ disks: Disks) throws -> String {
      let cancellation = TakeCancellation()
      Interrupts.cancel(cancellation)
      defer { Terminal.status("") }
      var last: UInt64 = 0
      return try disks.create(guest: vm, vdev: vdev, from: source, pool: pool, cancellation: cancellation) {
        what, bytes in
        guard bytes < last || bytes >= last + (16 << 20) else { return }
        last = bytes
        Terminal.status("\(source): \(Quantity.bytes(bytes)) \(what)")
      }
    }
  }

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "List the disks in all pools.")

    @OptionGroup var common: CommonOptions

    func run() throws {
      _ = try common.engine.existingStore()
      let entries = try Disks(common.engine.pools()).list().map(View.init)
      if common.json { return try Terminal.printJSON(entries) }
      let rows = entries.map {
        [
          $0.guest, $0.vdev, $0.pool, Quantity.bytes($0.sizeBytes), String($0.epochs),
          $0.path + ($0.origin.map { " over \($0)" } ?? ""),
        ]
      }
      Table.show([["GUEST", "DISK", "POOL", "SIZE", "EPOCHS", "PATH"]] + rows)
    }
  }

  struct Remove: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "remove", abstract: "Remove a guest's disks for good: all, or one.",
      discussion: "Refused while something uses one, and while epochs of the guest are restored to it (ckpt remove).")

    @Argument(help: "Name of the guest.", completion: .guests) var vm: String
    @Argument(help: "Name of the disk in the guest; all when left out.") var vdev: String?
    @Flag(help: "Do not ask; needed without a terminal.") var yes = false
    @OptionGroup var common: CommonOptions

    func run() throws {
      _ = try common.engine.existingStore()
      let disks = Disks(try common.engine.pools())
      let found = try disks.removable(guest: vm, vdev: vdev)
      try Terminal.confirm("All content is lost: \(found.map(\.path).joined(separator: ", ")).", yes: yes)
      let removed = try disks.remove(guest: vm, vdev: vdev)
      if common.json { return try Terminal.printJSON(removed.map(View.init)) }
      for entry in removed { Terminal.say("\(entry.path): removed from pool \(entry.pool)") }
    }
  }

  struct View: Encodable {
    let guest, vdev, pool, path: String
    let sizeBytes: UInt64
    let epochs: Int
    /// What an adopted disk was before.
    let origin: String?

    enum CodingKeys: String, CodingKey {
      case guest, vdev, pool, path, epochs, origin
      case sizeBytes = "size_bytes"
    }

    init(_ entry: Disks.Entry) {
      (guest, vdev, pool, path) = (entry.guest, entry.vdev, entry.pool, entry.path)
      (sizeBytes, epochs, origin) = (entry.sizeBytes, entry.epochs, entry.origin)
    }
  }
}
