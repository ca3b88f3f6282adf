import ArgumentParser
import Checkpoint
import EpochStore

struct DiffCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "diff", abstract: "Count what changed in a guest from one epoch to another.",
    discussion: """
      Memory: pages whose content differs, by where they are in the guest's physical memory. Disks: blocks of the pool that are \
      not the same, by thin_delta and by where they are on the disk; a block that was written with what it held counts as changed.
      """)

  @Argument(help: "Name or uuid of the guest.", completion: .guests) var vm: String
  @Argument(help: EpochArgument.help, transform: EpochArgument.parse) var first: EpochReference
  @Argument(help: EpochArgument.help, transform: EpochArgument.parse) var second: EpochReference
  @OptionGroup var common: CommonOptions

  func run() throws {
    let cancellation = TakeCancellation()
    Interrupts.cancel(cancellation)
    let difference = try common.engine.difference(vm, from: first, to: second, cancellation: cancellation)
    if common.json { try Terminal.printJSON(Report(difference)) } else { show(difference) }
    let problems = difference.disks.compactMap { disk in disk.problem.map { "disk \(disk.vdev): not compared: \($0)" } }
    if !problems.isEmpty { throw PartlyDone(description: problems.joined(separator: "; ")) }
  }

  private func show(_ difference: EpochDifference) {
    Terminal.say(
      "\(difference.second.guest): epoch \(difference.first.epoch) (\(difference.first.time)) to \(difference.second.epoch) (\(difference.second.time))"
    )
    let memory = difference.memory.map { Self.row(Self.address($0.start), $0) }
    Table.show(
      [["MEMORY FROM", "SIZE", "PAGES", "CHANGED", "ADDED", "REMOVED", "SHARE"]] + memory
        + [Self.row("total", difference.total)])
    let disks = difference.disks.compactMap { disk in
      disk.delta.map { delta in
        [
          disk.vdev, Quantity.bytes(disk.sizeBytes), Quantity.bytes(disk.blockBytes), String(delta.changed),
          String(delta.added), String(delta.removed),
          Quantity.bytes((delta.changed + delta.added + delta.removed) * disk.blockBytes),
        ]
      }
    }
    guard !disks.isEmpty else { return }
    print()
    Table.show([["DISK", "SIZE", "BLOCK", "CHANGED", "ADDED", "REMOVED", "BYTES"]] + disks)
    let regions = difference.disks.flatMap { disk in disk.regions.map { Self.row(disk, $0) } }
    guard !regions.isEmpty else { return }
    print()
    Table.show([["DISK", "FROM", "SIZE", "CHANGED", "ADDED", "REMOVED", "BYTES"]] + regions)
  }

  private static func row(_ disk: EpochDifference.Disk, _ region: EpochDifference.DiskRegion) -> [String] {
    let touched = region.changed + region.added + region.removed
    return [
      disk.vdev, Quantity.bytes(region.start), Quantity.bytes(region.bytes), String(region.changed),
      String(region.added),
      String(region.removed), Quantity.bytes(touched * disk.blockBytes),
    ]
  }

  private static func row(_ name: String, _ region: EpochDifference.Region) -> [String] {
    let touched = region.changed + region.added + region.removed
    let thousandths = touched * 1000 / max(1, region.pages + region.removed)
    return [
      name, Quantity.bytes(region.bytes), String(region.pages), String(region.changed), String(region.added),
      String(region.removed), "\(thousandths / 10).\(thousandths % 10)%",
    ]
  }

  private static func address(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return "0x" + String(repeating: "0", count: max(0, 9 - digits.count)) + digits
  }

  struct Report: Encodable {
    struct Region: Encodable {
      let start, bytes: UInt64
      let pages, changed, added, removed: Int

      init(_ region: EpochDifference.Region) {
        (start, bytes, pages) = (region.start, region.bytes, region.pages)
        (changed, added, removed) = (region.changed, region.added, region.removed)
      }
    }

    struct Memory: Encodable {
      let pageBytes, pages, changed, added, removed: Int
      let regions: [Region]

      enum CodingKeys: String, CodingKey {
        case pages, changed, added, removed, regions
        case pageBytes = "page_bytes"
      }
    }

    struct DiskRegion: Encodable {
      let start, bytes, changed, added, removed: UInt64

      init(_ region: EpochDifference.DiskRegion) {
        (start, bytes) = (region.start, region.bytes)
        (changed, added, removed) = (region.changed, region.added, region.removed)
      }
    }

    struct Disk: Encodable {
      let disk: String
      let sizeBytes, blockBytes: UInt64
      let same, changed, added, removed: UInt64?
      let regions: [DiskRegion]
      let problem: String?

      enum CodingKeys: String, CodingKey {
        case disk, same, changed, added, removed, regions, problem
        case sizeBytes = "size_bytes"
        case blockBytes = "block_bytes"
      }
    }

    let guest, uuid: String
    let first, second: Int
    let firstTime, secondTime: EpochTime
    let memory: Memory
    let disks: [Disk]

    enum CodingKeys: String, CodingKey {
      case guest, uuid, first, second, memory, disks
      case firstTime = "first_time"
      case secondTime = "second_time"
    }

    init(_ difference: EpochDifference) {
      (guest, uuid) = (difference.second.guest, difference.second.uuid)
      (first, second) = (difference.first.epoch, difference.second.epoch)
      (firstTime, secondTime) = (difference.first.time, difference.second.time)
      let total = difference.total
      memory = Memory(
        pageBytes: EpochFormat.pageSize, pages: total.pages, changed: total.changed, added: total.added,
        removed: total.removed, regions: difference.memory.map(Region.init))
      disks = difference.disks.map {
        Disk(
          disk: $0.vdev, sizeBytes: $0.sizeBytes, blockBytes: $0.blockBytes, same: $0.delta?.same,
          changed: $0.delta?.changed,
          added: $0.delta?.added, removed: $0.delta?.removed, regions: $0.regions.map(DiskRegion.init),
          problem: $0.problem)
      }
    }
  }
}
