import ArgumentParser
import Checkpoint
import EpochStore
import Glibc

struct ImportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "import", abstract: "Make an epoch of a file from another host, or of what xl save wrote.",
    discussion: """
      A bundle (ckpt export --bundle) becomes the same epoch of the same guest: number, time, tags and note stay; its disks become \
      snapshots in a pool here. One that was exported with --since needs that epoch here first. All of it is checked before the epoch \
      exists, and read once more afterwards; whatever goes wrong, also Ctrl-C, nothing is left. It gives up before guests of the pool \
      could run out of room. `ckpt restore` then starts it, and makes the guest's disks of the snapshots.
      A file of xl save becomes a new epoch of its guest, without disks: those have to be as they were when it was saved. A restore in \
      place says so before it asks, and leaves them as they are; a clone, which would write to the same disks, is refused. A file of \
      a Xen before 4.6 goes through Xen's own converter.
      """)

  @Argument(help: "The file, or - for standard input.", completion: .file()) var file: String
  @Option(help: "Pool for the disks; may be left out when there is only one.", completion: .pools) var pool: String?
  @Option(help: "What to call the guest of a file of xl save.") var name: String?
  @OptionGroup var common: CommonOptions

  func run() throws {
    let shown = file == "-" ? "standard input" : file
    let descriptor = file == "-" ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw UsageRefused(description: "cannot open \(file): \(String(cString: strerror(errno)))")
    }
    defer { if file != "-" { close(descriptor) } }
    let cancellation = TakeCancellation()
    Interrupts.cancel(cancellation)
    var last: UInt64 = 0
    let imported = try common.engine.importEpoch(
      from: descriptor, file: shown, pool: pool, name: name, cancellation: cancellation
    ) { bytes in
      guard bytes >= last + (16 << 20) else { return }
      last = bytes
      Terminal.status("\(shown): \(Quantity.bytes(bytes)) read")
    }
    Terminal.status("")
    try show(imported)
  }

  private func show(_ imported: ImportedEpoch) throws {
    if common.json { return try Terminal.printJSON(Report(imported)) }
    let manifest = imported.manifest
    if imported.wasThere {
      return Terminal.say("\(manifest.guest): epoch \(manifest.epoch) is here already; nothing was changed")
    }
    let disks = manifest.disks.filter { $0.thinID != nil }.map { "\($0.vdev) in pool \($0.pool)" }
    let parts = ["\(manifest.pages + manifest.zeroPages) pages"] + disks
    Terminal.say(
      "\(manifest.guest): epoch \(manifest.epoch) of \(manifest.time) is imported and verified (\(parts.joined(separator: ", ")))"
    )
    for note in imported.notes { Terminal.error("ckpt: note: \(note)") }
  }

  struct Report: Encodable {
    let guest, uuid: String
    let epoch: Int
    let base: Int?
    let wasThere: Bool
    let carriedPages, gonePages, diskBytes, unmappedBytes: UInt64
    let disks: [EpochManifest.Disk]
    let notes: [String]

    enum CodingKeys: String, CodingKey {
      case guest, uuid, epoch, base, disks, notes
      case wasThere = "was_there"
      case carriedPages = "carried_pages"
      case gonePages = "gone_pages"
      case diskBytes = "disk_bytes"
      case unmappedBytes = "unmapped_bytes"
    }

    init(_ imported: ImportedEpoch) {
      (guest, uuid, epoch) = (imported.manifest.guest, imported.manifest.uuid, imported.manifest.epoch)
      (base, wasThere) = (imported.base, imported.wasThere)
      (carriedPages, gonePages) = (imported.totals.pages, imported.totals.gonePages)
      (diskBytes, unmappedBytes) = (imported.totals.diskBytes, imported.totals.unmappedBytes)
      (disks, notes) = (imported.manifest.disks, imported.notes)
    }
  }
}
