import EpochStore
import Glibc

/// A store of the bench's own in a folder of its own, which goes away with the value.
final class BenchStore {
  let folder: GuestFolder
  private let path: String
  private var base: EpochBase?
  static let uuid = "00000000-0000-0000-0000-00000000be4c"

  init(_ dir: String, _ name: String) throws {
    path = "\(dir)/ckpt-bench-\(getpid())-\(name)"
    folder = try EpochStore(path: path).folder(uuid: Self.uuid, create: true)
  }

  /// By names that the store itself gives, so that a mistyped folder costs nobody anything.
  deinit {
    for epoch in 1...((try? folder.nextEpochNumber()) ?? 1) {
      for suffix in [".epoch", ".json"] { unlink(file(epoch, suffix)) }
    }
    for name in ["counter", "hashes", "lock"] { unlink(folder.path + "/" + name) }
    rmdir(folder.path)
    unlink(path + "/reserve")
    rmdir(path)
  }

  static func manifest(epoch: Int, memoryBytes: Int) -> EpochManifest {
    EpochManifest(
      guest: "bench", uuid: uuid, epoch: epoch, kind: .pvh, vcpus: 1, memoryBytes: UInt64(memoryBytes))
  }

  struct Taken {
    let manifest: EpochManifest
    /// What it took to compress, write and publish.
    let cost: Cost
    /// Bytes of the pages whose content changed.
    let changedBytes: Int
  }

  /// The next epoch: everything at first, afterwards what the guest changed since.
  @discardableResult
  func take(_ guest: inout BenchGuest, threads: Int) throws -> Taken {
    let epoch = try folder.nextEpochNumber()
    if base == nil { guest.touchEverything() }
    let staged = guest.stage()
    var manifest = Self.manifest(epoch: epoch, memoryBytes: guest.bytes)
    var changed = 0
    let cost = try cost {
      let writer = try folder.create(epoch: epoch, reserving: 0, base: base)
      let appended = try writer.append(staged, threads: threads)
      changed = appended.stored + appended.zero
      manifest = try writer.publish(manifest)
      base = writer.nextBase
    }
    return Taken(manifest: manifest, cost: cost, changedBytes: changed * EpochFormat.pageSize)
  }

  /// An epoch whose manifest is like that of a take, and whose file is one record of noise.
  @discardableResult
  func publish(_ epoch: Int, kibibytes: Int) throws -> EpochManifest {
    var manifest = Self.manifest(epoch: epoch, memoryBytes: 1 << 30)
    manifest.disks = ["xvda", "xvdb"].map {
      .init(
        vdev: $0, pool: "main", thinID: UInt32(epoch), sizeBytes: 1 << 34, device: "/dev/mapper/ckpt-bench-\($0)",
        readOnly: false)
    }
    for phase in ["probe", "reserve", "arm", "precopy", "request", "freeze", "copy", "disks", "resume", "write"] {
      manifest.phases[phase] = Double(epoch % 97) + 0.125
    }
    var statistics = TakeStatistics()
    for round in 1...6 { statistics.rounds.append(.init(name: String(round), pages: 262_144 >> round, copied: epoch)) }
    manifest.statistics = statistics
    let writer = try folder.create(epoch: epoch, reserving: 0)
    try writer.append(record: 1, [UInt8](repeating: 1, count: kibibytes << 10))
    return try writer.publish(manifest)
  }

  func manifestBytes(_ epoch: Int) -> Int {
    var status = stat()
    return stat(file(epoch, ".json"), &status) == 0 ? status.st_size : 0
  }

  /// What removing an epoch cannot do without.
  func unlinkEpoch(_ epoch: Int) {
    for suffix in [".json", ".epoch"] { unlink(file(epoch, suffix)) }
  }

  /// Reads every page and throws it away.
  func restore(_ epoch: Int, threads: Int) throws {
    try folder.open(epoch: epoch).forEachBatch(threads: threads) { _ in }
  }

  /// Bytes of an epoch's index: from the place that the trailer names (Format.md) to the trailer.
  func indexBytes(_ epoch: Int) throws -> Int {
    let manifest = try folder.manifest(epoch)
    guard let opened = fopen(file(epoch, ".epoch"), "r") else { return 0 }
    defer { fclose(opened) }
    var offset: UInt64 = 0
    fseek(opened, Int(manifest.bytes) - 88 + 24, SEEK_SET)
    fread(&offset, 8, 1, opened)
    return Int(manifest.bytes) - 88 - Int(UInt64(littleEndian: offset))
  }

  private func file(_ epoch: Int, _ suffix: String) -> String {
    let digits = String(epoch)
    return folder.path + "/" + String(repeating: "0", count: max(0, 8 - digits.count)) + digits + suffix
  }
}
