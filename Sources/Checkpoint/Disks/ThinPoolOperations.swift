import DeviceMapper
import Glibc

/// What the policy needs of device-mapper. `DeviceMapper` is the real one; tests script another, which may die at any step.
protocol ThinPoolOperations: AnyObject, Sendable {
  func list() throws -> [(name: String, number: DeviceNumber)]
  func info(_ device: String) throws -> DeviceInfo?
  func table(_ device: String) throws -> [Target]
  func poolStatus(_ pool: String) throws -> PoolStatus
  func create(_ device: String, uuid: String, table: [Target], readOnly: Bool) throws
  func swapTable(_ device: String, to table: [Target]) throws
  /// As `swapTable`, of a device in use, with as little as possible while requests wait.
  ///
  /// - Returns: nanoseconds for which they waited.
  func swapLive(_ device: String, to table: [Target], flushing old: String) throws -> UInt64
  func resume(_ device: String) throws
  func clear(_ device: String) throws
  func remove(_ device: String) throws
  func createThin(pool: String, id: ThinID) throws
  func createSnapshot(pool: String, id: ThinID, of origin: ThinID) throws
  @discardableResult func deleteThin(pool: String, id: ThinID) throws -> Bool
  func reserveMetadataSnapshot(pool: String) throws
  func releaseMetadataSnapshot(pool: String) throws
  /// What `thin_delta` says of two volumes, read from the pool's metadata snapshot. `mayGoOn` ends it by throwing.
  func thinDelta(
    _ backing: PoolCatalog.Backing, from older: ThinID, to younger: ThinID, _ mayGoOn: @escaping () throws -> Void
  ) throws -> [UInt8]
  func setTransactionID(pool: String, from old: UInt64, to new: UInt64) throws
  /// Finds the devices of a pool that is about to be used, attaching loop devices where needed.
  func attach(_ backing: PoolCatalog.Backing) throws -> AttachedBacking
  /// Makes a pool's file larger, and the loop device over it.
  func enlarge(file: String, to bytes: UInt64) throws
  /// As `PoolBacking.removeFile`.
  func remove(file: String) throws -> Bool
  /// As `PoolBacking.wipe`.
  func wipe(data: String, metadata: String) throws
  func prepare(_ disks: [EpochSnapshots.Disk]) throws -> any PreparedSnapshots

  // Content of devices, by their device-mapper names.
  /// Bytes of its logical blocks.
  func sectorBytes(_ device: String) throws -> Int
  func flushBuffers(_ device: String) throws
  func read(_ device: String, parts: [(offset: UInt64, count: Int)]) throws -> [[UInt8]]
  /// - Returns: bytes written to `target`.
  func copyDifferences(
    from source: String, to target: String, bytes: UInt64, progress: (UInt64) -> Void
  ) throws -> UInt64

  // LVM.
  func markAsOrigin(_ volume: LogicalVolume) throws
  func unmarkAsOrigin(_ volume: LogicalVolume) throws
  func activate(_ volume: LogicalVolume) throws
  func deactivate(_ volume: LogicalVolume) throws
  /// Whether there is a volume, under whatever name, by the uuid that its device has or had.
  func knowsVolume(ofDevice uuid: String) throws -> Bool
  /// Removes a volume that was made for a pool.
  ///
  /// - Returns: false when LVM has none of this name that bears the tag of such.
  func removePoolVolume(_ volume: LogicalVolume) throws -> Bool
}

/// The disks' part of the pause, ready to run.
protocol PreparedSnapshots: AnyObject, Sendable {
  func begin() throws -> EpochSnapshots.Times
}

extension EpochSnapshots: PreparedSnapshots {}

/// A pool's devices as the kernel sees them now.
struct AttachedBacking: Equatable, Sendable {
  var data: DeviceNumber
  var metadata: DeviceNumber
  var dataSectors: UInt64
  /// The metadata device begins with a thin superblock.
  var metadataIsFormatted: Bool
}

extension DeviceMapper: ThinPoolOperations {
  func prepare(_ disks: [EpochSnapshots.Disk]) throws -> any PreparedSnapshots { try EpochSnapshots(disks) }

  func enlarge(file: String, to bytes: UInt64) throws {
    try PoolBacking.enlarge(file, to: bytes)
    if let loop = try LoopDevice.find(file) { try LoopDevice.takeInSize(loop) }
  }

  func remove(file: String) throws -> Bool { try PoolBacking.removeFile(file) }
  func wipe(data: String, metadata: String) throws { try PoolBacking.wipe(data: data, metadata: metadata) }

  func sectorBytes(_ device: String) throws -> Int { try BlockDevice.sectorBytes("/dev/mapper/\(device)") }

  func flushBuffers(_ device: String) throws { try BlockDevice.flushBuffers("/dev/mapper/\(device)") }

  func read(_ device: String, parts: [(offset: UInt64, count: Int)]) throws -> [[UInt8]] {
    try BlockDevice.read("/dev/mapper/\(device)", parts: parts)
  }

  func copyDifferences(
    from source: String, to target: String, bytes: UInt64, progress: (UInt64) -> Void
  ) throws -> UInt64 {
    try BlockDevice.copyDifferences(
      from: "/dev/mapper/\(source)", to: "/dev/mapper/\(target)", bytes: bytes, progress: progress)
  }

  func markAsOrigin(_ volume: LogicalVolume) throws { try volume.markAsOrigin() }
  func unmarkAsOrigin(_ volume: LogicalVolume) throws { try volume.unmarkAsOrigin() }
  func activate(_ volume: LogicalVolume) throws { try volume.activate() }
  func deactivate(_ volume: LogicalVolume) throws { try volume.deactivate() }
  func knowsVolume(ofDevice uuid: String) throws -> Bool { try LogicalVolume.exists(device: uuid) }

  func removePoolVolume(_ volume: LogicalVolume) throws -> Bool {
    guard try volume.isOfPool() else { return false }
    try volume.remove()
    return true
  }

  func attach(_ backing: PoolCatalog.Backing) throws -> AttachedBacking {
    try require(target: "thin-pool", module: "dm_thin_pool")
    let (data, metadata): (String, String) =
      switch backing {
      case .devices(let data, let metadata): (try Self.present(data), try Self.present(metadata))
      case .files(let data, let metadata): (try LoopDevice.attach(data), try LoopDevice.attach(metadata))
      }
    return AttachedBacking(
      data: try Self.number(data), metadata: try Self.number(metadata),
      dataSectors: try BlockDevice.size(data) / 512,
      metadataIsFormatted: try DeviceSignature.of(metadata) == .thinMetadata)
  }

  /// After a boot LVM may not have come to a pool's volumes yet.
  private static func present(_ path: String) throws -> String {
    if access(path, F_OK) != 0, let volume = LogicalVolume(path: path) { try volume.activate() }
    return path
  }

  private static func number(_ path: String) throws -> DeviceNumber {
    guard let number = DeviceNumber(ofDevice: path) else {
      throw PoolError.unusable(device: path, why: "it is not a block device, or not there")
    }
    return number
  }
}
