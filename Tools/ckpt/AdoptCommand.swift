import ArgumentParser
import Checkpoint
import Glibc

struct AdoptCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "adopt", abstract: "Bring a running guest's disks, volumes of LVM, into a pool; it notices nothing.",
    discussion: """
      The data stay where they are: the disk reads from the old volume what it has not written since, and nothing may write \
      there any more. The pool may come to need the disk's whole size. The guest's configuration gets the disk's name in \
      /dev/mapper, which cannot be had without the pool; the old volume's device shows the disk as well.
      Linear, striped and thin volumes can be adopted, the last as origins outside of LVM's own pool, into a pool on devices \
      whose sectors have the same size. Partitions, whole disks, files, other kinds of volumes, and disks that qemu or tapdisk \
      serve cannot: `ckpt disk create` copies them.
      LVM is told not to activate the volume at boot, and by the tag ckpt-origin; `ckpt pool start` brings the disk back. \
      Looking (lvs, vgs, pvs) and vgchange -ay do no harm. Tools that load LVM's own table over ours (lvchange --refresh, \
      lvresize, pvmove, lvcreate -s on this volume) must be kept away from it: the next take says so and fails (status 12), and \
      `ckpt doctor` has it as a problem. What is found so while nobody has the volume open, as at a boot, `ckpt pool start` puts \
      right, unless somebody wrote to it meanwhile: a checksum of parts of it guards every start and restore. Once it was found so \
      under a guest that runs, neither the disk nor its epochs are trusted any more, for what the guest wrote may lie anywhere \
      in the old volume: `ckpt release --discard` keeps the volume as it is.
      A guest is known by its uuid. Where its xl configuration has none, each xl create gives it a new one and makes another \
      guest of it, without these epochs: the line that is missing is shown, or written, with the paths.
      Exit status 3 when some of it was done: what was is told, then what was not.
      """)

  @Argument(help: "Name, id or uuid of the guest.", completion: .guests) var vm: String
  @Argument(help: "Names of its disks, like xvda; all writable ones when left out.") var disks: [String] = []
  @Option(help: "Pool; may be left out when there is only one.", completion: .pools) var pool: String?
  @OptionGroup var xl: XLFileOptions
  @OptionGroup var common: CommonOptions

  func run() throws {
    _ = try common.engine.existingStore()
    try xl.requireReadable()
    let (guest, uuid) = try common.engine.running(vm)
    var (adopted, failure) = ([AdoptedDisk](), (any Error)?.none)
    do {
      try common.engine.adopt(uuid, named: disks, pool: pool) { adopted.append($0) }
    } catch {
      guard !adopted.isEmpty else { throw error }
      failure = error
    }
    // Those that were adopted before as well: whoever says --write-config later means all of them.
    let all = ((try? common.engine.release(guest).disks) ?? []).filter { disks.isEmpty || disks.contains($0.vdev) }
    let file = xl.rename(all.map { ($0.oldPath, $0.poolPath) }, guest: guest, uuid: uuid)
    let moved = MovedDisks(guest: guest, disks: adopted.map(Disk.init), configurationWritten: file.isWritten)
    try moved.tell(lines(guest, adopted), file, failure: failure, json: common.json)
  }

  private func lines(_ guest: String, _ adopted: [AdoptedDisk]) -> [String] {
    if adopted.isEmpty { return ["\(guest): these disks are in a pool already"] }
    return adopted.map { disk in
      "\(guest) \(disk.vdev): /dev/\(disk.volume) is adopted by pool \(disk.pool), requests waited for "
        + Quantity.milliseconds(Double(disk.heldNanoseconds) / 1e6)
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
      run again; `ckpt pool start` makes the disk usable until then, with its newest content. It is refused while an epoch of \
      the guest is mounted or being exported, and while there are clones of its epochs, which read from the old volume, too: until \
      their epochs and disks are removed (ckpt remove, ckpt disk remove).
      Exit status 3 when some of it was done: what was is told, then what was not.
      """)

  @Argument(help: "Name of the guest.", completion: .guests) var vm: String
  @Argument(help: "Names of its disks, like xvda; all adopted ones when left out.") var disks: [String] = []
  @Flag(
    help: "Copy nothing: keep the volumes as they are, or gone, and lose what was written since the adoption.")
  var discard = false
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
    try perform(release)
  }

  private func perform(_ release: Release) throws {
    var (released, failure) = ([(disk: Release.Disk, bytes: UInt64)](), (any Error)?.none)
    do {
      try release.perform(
        discard: discard,
        progress: { vdev, bytes in Terminal.status("\(vdev): \(Quantity.bytes(bytes)) compared") },
        released: { released.append(($0, $1)) })
    } catch {
      guard !released.isEmpty else { throw error }
      failure = error
    }
    Terminal.status("")
    let file = xl.rename(released.map { ($0.disk.poolPath, $0.disk.oldPath) }, guest: vm)
    let moved = MovedDisks(
      guest: vm, disks: released.map { Disk(vdev: $0.disk.vdev, path: $0.disk.path, copiedBytes: $0.bytes) },
      configurationWritten: file.isWritten)
    let lines = released.map { disk, bytes in
      "\(vm) \(disk.vdev): \(disk.path) is the whole disk again, \(Quantity.bytes(bytes)) copied back"
    }
    try moved.tell(lines, file, failure: failure, json: common.json)
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
