import DeviceMapper
import EpochStore
import Glibc
import MigrationStream
import Synchronization
import Testing

@testable import Checkpoint

/// A host: a store with a pool on a fake kernel, whose volumes have bytes, and epochs of a PVH guest `web`.
final class CarryHouse {
  let pool: PoolHouse
  let access: DiskAccess
  var engine: Engine { Engine(storePath: pool.store) }
  static let diskBytes = 1 << 20
  static let blockBytes = 65536

  init(disks: Bool) throws {
    pool = try PoolHouse(disks: disks)
    let fake = pool.fake
    // What `thin_delta` would say follows from the contents.
    access = DiskAccess { device, writable in FakeContent(fake, device, writable: writable) }
  }

  deinit { remove("\(pool.store)/\(PoolHouse.uuid)") }

  private func remove(_ folder: String) {
    guard let listing = opendir(folder) else { return }
    while let entry = readdir(listing) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      unlink("\(folder)/\(name)")
    }
    closedir(listing)
    rmdir(folder)
    for name in ["reserve", "carried"] { unlink("\(pool.store)/\(name)") }
  }

  var folder: GuestFolder {
    get throws { try EpochStore(path: pool.store).folder(uuid: PoolHouse.uuid, create: true) }
  }

  /// Names in the guest's folder but the lock's; none where there is no folder.
  var files: [String] {
    var names: [String] = []
    guard let listing = opendir("\(pool.store)/\(PoolHouse.uuid)") else { return [] }
    while let entry = readdir(listing) {
      names.append(
        withUnsafePointer(to: &entry.pointee.d_name) {
          $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        })
    }
    closedir(listing)
    return names.filter { !$0.hasPrefix(".") && $0 != "lock" }.sorted()
  }

  /// Fills a block of a live disk.
  func write(_ letter: Character, block: Int, of device: String) {
    var content = Self.bytes(pool.fake.content(of: device))
    let value = letter == "0" ? UInt8(0) : letter.asciiValue!
    for index in (block * Self.blockBytes)..<((block + 1) * Self.blockBytes) { content[index] = value }
    pool.fake.write(String(decoding: content, as: UTF8.self), to: device)
  }

  static func bytes(_ content: String?) -> [UInt8] {
    let bytes = Array((content ?? "").utf8)
    return bytes + [UInt8](repeating: 0, count: max(0, diskBytes - bytes.count))
  }

  /// Takes an epoch with these pages, on the one before.
  @discardableResult
  func take(_ epoch: Int, _ pages: [UInt64: UInt8], base: Bool = true) throws -> EpochManifest {
    try pool.take(epoch)
    let folder = try folder
    let older = base ? try folder.base() : nil
    let writer = try folder.create(epoch: epoch, reserving: 0, base: older)
    var gone: [UInt64] = []
    older?.forEachPFN { if pages[$0] == nil { gone.append($0) } }
    try writer.remove(gone)
    let imported = ImportedPages(writer, threads: 1)
    for (pfn, value) in pages.sorted(by: { $0.key < $1.key }) {
      let page = [UInt8](repeating: value, count: 4096)
      try page.withUnsafeBytes { try imported.add(pfn, type: 0, $0) }
    }
    try imported.flush()
    for record in try records() { try writer.append(record: record.type, record.body) }
    var disks = try pool.catalog().snapshots(PoolHouse.uuid, epoch).map {
      EpochManifest.Disk(
        vdev: $0.vdev, pool: "p", thinID: $0.thinID, sizeBytes: $0.sizeSectors * 512,
        device: "/dev/mapper/\($0.device)", readOnly: false)
    }
    disks.append(.init(vdev: "xvdc", pool: "", thinID: nil, sizeBytes: 0, device: "/dev/loop7", readOnly: true))
    return try writer.publish(
      EpochManifest(
        guest: "web", uuid: PoolHouse.uuid, epoch: epoch, time: EpochTime(milliseconds: Int64(epoch) * 1000),
        kind: .pvh,
        vcpus: 2, memoryBytes: 1 << 20, pauseMs: 7, disks: disks, suspendPath: "xenstore", xenVersion: "4.17.7"))
  }

  private func records() throws -> [StoredRecord] {
    let disks = ["xvda", "xvdb"].map {
      "{\"vdev\":\"\($0)\",\"pdev_path\":\"/dev/mapper/ckpt-web-\($0)\",\"readwrite\":1}"
    }
    let config =
      "{\"c_info\":{\"type\":\"pvh\",\"name\":\"web\",\"uuid\":\"\(PoolHouse.uuid)\"},"
      + "\"b_info\":{\"max_vcpus\":2,\"max_memkb\":1024,\"target_memkb\":1024},\"disks\":[\(disks.joined(separator: ","))]}"
    let tsc = RecordBody.tscInfo(TSCInfo(mode: 0, kilohertz: 1, nanoseconds: 2, incarnation: 3))
    return [StoredRecord(type: GuestRecords.configuration, body: Array(config.utf8))]
      + [
        Record(tsc), Record(.hvmContext([UInt8](repeating: 9, count: 5000))),
        Record(.hvmParams([HVMParam(index: 1, value: 2)])),
      ].map {
        StoredRecord(type: $0.type.rawValue, body: $0.body)
      }
  }

  // MARK: Carrying

  var file: String { "\(pool.store)/carried" }

  @discardableResult
  func export(
    _ epoch: Int, of guest: String = "web", since: Int? = nil, resume: Bool = false,
    _ cancellation: TakeCancellation = TakeCancellation(),
    progress: @escaping (_ what: String, _ bytes: UInt64) -> Void = { _, _ in }
  ) throws -> ExportedBundle {
    let descriptor = open(file, resume ? O_RDWR : O_RDWR | O_CREAT | O_TRUNC, 0o600)
    defer { close(descriptor) }
    return try engine.exportBundle(
      guest, epoch: .number(epoch), since: since.map { .number($0) }, to: descriptor, file: "carried", resume: resume,
      pools: { self.pool.pools.waiting(seconds: 0, cancellation.check) }, access: access, cancellation: cancellation,
      progress: progress)
  }

  /// The bundle of an epoch.
  func bundle(_ epoch: Int, since: Int? = nil) throws -> [UInt8] {
    try export(epoch, since: since)
    return try DurableFile.read(file)
  }

  @discardableResult
  func importing(
    _ bytes: [UInt8], pool name: String? = nil, _ cancellation: TakeCancellation = TakeCancellation(),
    progress: @escaping (_ bytes: UInt64) -> Void = { _ in }
  ) throws -> ImportedEpoch {
    try DurableFile.replace(file, with: bytes)
    let descriptor = open(file, O_RDONLY)
    defer { close(descriptor) }
    return try engine.importEpoch(
      from: descriptor, file: "carried", pool: name, pools: { self.pool.pools }, access: access,
      cancellation: cancellation, progress: progress)
  }

  /// Devices of disks that are carried, or were when somebody died.
  var carriedDevices: [String] { pool.fake.kernel { $0.devices.keys.filter { $0.contains("carry") } } }

  /// What an epoch holds: pages, records, and the bytes of its disks.
  func content(_ epoch: Int) throws -> (pages: [UInt64: UInt8], records: [StoredRecord], disks: [String: [UInt8]]) {
    let reader = try folder.open(epoch: epoch)
    var pages: [UInt64: UInt8] = [:]
    try reader.forEachBatch { batch in
      for index in batch.pfns.indices { pages[batch.pfns[index]] = batch.bytes[index * 4096] }
    }
    let disks = try pool.content(ofEpoch: epoch).mapValues { Self.bytes($0) }
    return (pages, try reader.records(), disks)
  }
}

/// The bytes of a fake device, which its volume's content is.
final class FakeContent: DiskContent {
  private let fake: FakePool
  private let device: String
  private let writable: Bool

  init(_ fake: FakePool, _ device: String, writable: Bool) {
    (self.fake, self.device, self.writable) = (fake, device, writable)
  }

  func read(_ buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws {
    buffer.copyBytes(from: CarryHouse.bytes(fake.content(of: device))[Int(offset)..<(Int(offset) + buffer.count)])
  }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws {
    guard writable else { throw FakePool.refused(.write, device, EBADF) }
    var content = CarryHouse.bytes(fake.content(of: device))
    content.replaceSubrange(Int(offset)..<(Int(offset) + bytes.count), with: bytes)
    fake.write(String(decoding: content, as: UTF8.self), to: device)
  }

  func discard(_ range: Range<UInt64>) throws -> Bool {
    let zeros = [UInt8](repeating: 0, count: range.count)
    try zeros.withUnsafeBytes { try write($0, at: range.lowerBound) }
    return true
  }

  func sync() {}
}
