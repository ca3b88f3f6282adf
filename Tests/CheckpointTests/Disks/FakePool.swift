import DeviceMapper
import Glibc
import Synchronization

@testable import Checkpoint

/// What stands for the kernel: it remembers pools, ids, devices and the content of each id, and refuses as dm-thin does.
/// `dieBefore` or `dieAfter` the n-th change it throws `Died`, and from then on everything does: the process is gone.
final class FakePool: ThinPoolOperations {
  struct Died: Error {}

  struct Device: Equatable {
    var uuid: String
    var number: DeviceNumber
    var table: [Target]
    var suspended = false
    var inactive = false
    var openCount = 0
    var isOpen = false
    var readOnly = false
  }

  struct Kernel {
    var devices: [String: Device] = [:]
    var nextMinor: UInt32 = 0
    /// Content per thin id: what a guest wrote.
    var contents: [ThinID: String] = [:]
    /// Data blocks that only this id uses.
    var blocks: [ThinID: UInt64] = [:]
    var transactionID: UInt64 = 0
    var status = PoolStatus(
      mode: .readWrite, usedMetadataBlocks: 1650, totalMetadataBlocks: 16384, usedDataBlocks: 0,
      totalDataBlocks: 65536)
    var changes = 0
    var dieBefore: Int?
    var dieAfter: Int?
    var dead = false
    var formatted = false
    var refuseSnapshots = false
    /// Metadata cannot be written any more, which no message tells.
    var losesCommits = false
    /// Of the data device.
    var dataSectors: UInt64 = 65536 * 128
    /// What files were enlarged to, and what the pool takes in when its table is loaded anew.
    var enlarged: [String: UInt64] = [:]
    /// For each time that a pool, and every guest with it, stood still: whether signals had to wait.
    var poolSwaps: [Bool] = []
    /// Devices that are open are seen to be; else they are opened a moment later.
    var showsOpen = true
    /// The metadata snapshot, and what `thin_delta` finds in it.
    var metadataHeld = false
    var thinDelta = ""
    /// Bytes of logical blocks, of devices that have not 512.
    var sectorBytes: [String: Int] = [:]
    /// A device that somebody has open.
    var held: String?
    /// A device that cannot be resumed.
    var stuck: String?
    /// Content of what lies under linear devices that are no device of ours, by the parameters of their tables.
    var raw: [String: String] = [:]
    /// Volumes of LVM, by group and name, with the devices that activating them makes.
    var volumes: [String: (name: String, device: Device)] = [:]
    var marked: Set<String> = []
    var refuseLVM = false
    /// Volumes of LVM that bear the tag of pools', by group and name.
    var poolVolumes: Set<String> = []
    /// Devices that were wiped for another pool.
    var wiped: [String] = []
  }

  private let state = Mutex(Kernel())

  func kernel<Result>(_ body: (inout Kernel) throws -> sending Result) rethrows -> sending Result {
    try state.withLock(body)
  }

  /// A new process finds the kernel as the old one left it; after a reboot without its devices.
  func restart(reboot: Bool) {
    kernel { kernel in
      (kernel.dead, kernel.dieBefore, kernel.dieAfter) = (false, nil, nil)
      if reboot { kernel.devices = [:] }
    }
  }

  func look<Result>(_ body: (Kernel) throws -> sending Result) throws -> sending Result {
    try kernel { kernel in
      if kernel.dead { throw Died() }
      return try body(kernel)
    }
  }

  func change<Result>(_ body: (inout Kernel) throws -> sending Result) throws -> sending Result {
    try kernel { kernel in
      kernel.changes += 1
      if kernel.dieBefore == kernel.changes { kernel.dead = true }
      if kernel.dead { throw Died() }
      let result = try body(&kernel)
      if kernel.dieAfter == kernel.changes {
        kernel.dead = true
        throw Died()
      }
      return result
    }
  }

  static func refused(_ operation: DeviceMapperError.Operation, _ device: String, _ code: Int32)
    -> DeviceMapperError
  {
    .failed(operation, device: device, errno: code, detail: "", left: .unchanged)
  }

  // MARK: ThinPoolOperations

  func list() throws -> [(name: String, number: DeviceNumber)] {
    try look { $0.devices.map { ($0.key, $0.value.number) } }
  }

  func info(_ device: String) throws -> DeviceInfo? {
    try look { kernel in
      kernel.devices[device].map {
        DeviceInfo(
          name: device, uuid: $0.uuid, number: $0.number, suspended: $0.suspended,
          openCount: Self.openCount(device, kernel), hasLiveTable: !$0.table.isEmpty, hasInactiveTable: $0.inactive,
          readOnly: $0.readOnly)
      }
    }
  }

  func table(_ device: String) throws -> [Target] { try look { $0.devices[device]?.table ?? [] } }

  func poolStatus(_ pool: String) throws -> PoolStatus {
    try look { kernel in
      // As the kernel's "Fail": no numbers.
      if kernel.status.mode == .failed { return PoolStatus(mode: .failed, needsCheck: true) }
      var status = kernel.status
      status.transactionID = kernel.transactionID
      status.heldMetadataRoot = kernel.metadataHeld ? 7 : nil
      return status
    }
  }

  func create(_ device: String, uuid: String, table: [Target], readOnly: Bool) throws {
    try change { kernel in
      guard kernel.devices[device] == nil else { throw Self.refused(.create, device, EBUSY) }
      try Self.checkIDs(table, device, kernel)
      kernel.devices[device] = Device(
        uuid: uuid, number: DeviceNumber(major: 253, minor: kernel.nextMinor), table: [], readOnly: readOnly)
      kernel.nextMinor += 1
    }
    // Killed in between it leaves a device of ours without a table.
    try change { kernel in
      if table.first?.type == "thin-pool" { kernel.formatted = true }
      kernel.devices[device]?.table = table
    }
  }

  func swapTable(_ device: String, to table: [Target]) throws {
    try change { kernel in
      try Self.checkIDs(table, device, kernel)
      if table.first?.type == "thin-pool" {
        kernel.poolSwaps.append(Self.holdsSignals)
        kernel.status.totalDataBlocks = table[0].sectors / 128
        for (file, bytes) in kernel.enlarged where file.hasSuffix(".metadata") {
          kernel.status.totalMetadataBlocks = bytes / 4096
        }
      }
      kernel.devices[device]?.table = table
      kernel.devices[device]?.suspended = false
      kernel.devices[device]?.inactive = false
    }
  }

  /// Of this thread.
  private static var holdsSignals: Bool {
    var mask = sigset_t()
    pthread_sigmask(SIG_BLOCK, nil, &mask)
    return [SIGINT, SIGTERM, SIGHUP].allSatisfy { sigismember(&mask, $0) == 1 }
  }

  private static func checkIDs(_ table: [Target], _ device: String, _ kernel: Kernel) throws {
    for case (_, let id, _)? in table.map(\.thinVolume) where kernel.contents[id] == nil {
      throw refused(.load, device, ENODATA)
    }
  }

  func resume(_ device: String) throws {
    try change { kernel in
      guard kernel.stuck != device else { throw Self.refused(.resume, device, EIO) }
      kernel.devices[device]?.suspended = false
    }
  }
  func clear(_ device: String) throws { try change { $0.devices[device]?.inactive = false } }
  func remove(_ device: String) throws {
    try change { kernel in
      guard Self.openCount(device, kernel) == 0, kernel.devices[device]?.isOpen != true, kernel.held != device else {
        throw Self.refused(.remove, device, EBUSY)
      }
      kernel.devices[device] = nil
    }
  }

  func reserveMetadataSnapshot(pool: String) throws {
    try change { kernel in
      guard !kernel.metadataHeld else { throw Self.refused(.message, pool, EBUSY) }
      kernel.metadataHeld = true
    }
  }

  func releaseMetadataSnapshot(pool: String) throws {
    try change { kernel in
      guard kernel.metadataHeld else { throw Self.refused(.message, pool, EINVAL) }
      kernel.metadataHeld = false
    }
  }

  func thinDelta(
    _ backing: PoolCatalog.Backing, from older: ThinID, to younger: ThinID, _ mayGoOn: @escaping () throws -> Void
  ) throws -> [UInt8] {
    try mayGoOn()
    return try look { kernel in
      guard kernel.metadataHeld else { throw Self.refused(.open, "thin_delta", EBUSY) }
      return Array((kernel.thinDelta.isEmpty ? FakeDelta.text(kernel, older, younger) : kernel.thinDelta).utf8)
    }
  }

  func createThin(pool: String, id: ThinID) throws {
    try change { kernel in
      guard kernel.contents[id] == nil else { throw Self.refused(.message, pool, EEXIST) }
      kernel.contents[id] = ""
    }
  }

  func createSnapshot(pool: String, id: ThinID, of origin: ThinID) throws {
    try change { try Self.snapshot(pool, id, origin, &$0) }
  }

  private static func snapshot(_ pool: String, _ id: ThinID, _ origin: ThinID, _ kernel: inout Kernel) throws {
    guard let content = kernel.contents[origin] else { throw refused(.message, pool, ENODATA) }
    guard kernel.contents[id] == nil else { throw refused(.message, pool, EEXIST) }
    guard !kernel.refuseSnapshots else { throw refused(.message, pool, EOPNOTSUPP) }
    kernel.contents[id] = content
  }

  func deleteThin(pool: String, id: ThinID) throws -> Bool {
    try change { kernel in
      guard kernel.status.mode != .readOnly else { throw Self.refused(.message, pool, EOPNOTSUPP) }
      let open = kernel.devices.values.contains { $0.table.first?.thinVolume?.id == id }
      guard !open else { throw Self.refused(.message, pool, EBUSY) }
      kernel.status.usedDataBlocks -= kernel.blocks.removeValue(forKey: id) ?? 0
      return kernel.contents.removeValue(forKey: id) != nil
    }
  }

  func setTransactionID(pool: String, from old: UInt64, to new: UInt64) throws {
    try change { kernel in
      guard kernel.transactionID == old else { throw Self.refused(.message, pool, EINVAL) }
      if kernel.losesCommits {
        kernel.status.mode = .readOnly
      } else {
        kernel.transactionID = new
      }
    }
  }

  func attach(_ backing: PoolCatalog.Backing) throws -> AttachedBacking {
    try look { kernel in
      AttachedBacking(
        data: DeviceNumber(major: 7, minor: 0), metadata: DeviceNumber(major: 7, minor: 1),
        dataSectors: kernel.dataSectors,
        metadataIsFormatted: kernel.formatted)
    }
  }

  func enlarge(file: String, to bytes: UInt64) throws {
    try change { kernel in
      kernel.enlarged[file] = bytes
      if file.hasSuffix(".data") { kernel.dataSectors = bytes / 512 }
    }
  }

  func remove(file: String) throws -> Bool { try change { _ in unlink(file) == 0 } }

  func wipe(data: String, metadata: String) throws {
    try change { kernel in
      guard kernel.formatted else { return }
      (kernel.formatted, kernel.wiped) = (false, [data, metadata])
    }
  }

  func prepare(_ disks: [EpochSnapshots.Disk]) throws -> any PreparedSnapshots {
    Prepared(fake: self, disks: disks)
  }

  /// The pause: dies with its devices suspended, as a killed process would leave them.
  private final class Prepared: PreparedSnapshots {
    let fake: FakePool
    let disks: [EpochSnapshots.Disk]

    init(fake: FakePool, disks: [EpochSnapshots.Disk]) {
      self.fake = fake
      self.disks = disks
    }

    func begin() throws -> EpochSnapshots.Times {
      for disk in disks { try fake.change { $0.devices[disk.device]?.suspended = true } }
      var failure: (any Error)?
      do {
        for disk in disks { try fake.createSnapshot(pool: disk.pool, id: disk.epoch, of: disk.live) }
      } catch {
        failure = error
      }
      for disk in disks { try fake.change { $0.devices[disk.device]?.suspended = false } }
      if let failure { throw failure }
      return EpochSnapshots.Times()
    }
  }
}
