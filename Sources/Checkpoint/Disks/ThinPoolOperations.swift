import DeviceMapper

/// What the policy needs of device-mapper. `DeviceMapper` is the real one; tests script another, which may die at any step.
protocol ThinPoolOperations: AnyObject, Sendable {
  func list() throws -> [(name: String, number: DeviceNumber)]
  func info(_ device: String) throws -> DeviceInfo?
  func table(_ device: String) throws -> [Target]
  func poolStatus(_ pool: String) throws -> PoolStatus
  func create(_ device: String, uuid: String, table: [Target], readOnly: Bool) throws
  func swapTable(_ device: String, to table: [Target]) throws
  func resume(_ device: String) throws
  func clear(_ device: String) throws
  func remove(_ device: String) throws
  func createThin(pool: String, id: ThinID) throws
  func createSnapshot(pool: String, id: ThinID, of origin: ThinID) throws
  @discardableResult func deleteThin(pool: String, id: ThinID) throws -> Bool
  func reserveMetadataSnapshot(pool: String) throws
  func releaseMetadataSnapshot(pool: String) throws
  /// What `thin_delta` says of two volumes, read from the pool's metadata snapshot.
  func thinDelta(_ backing: PoolCatalog.Backing, from older: ThinID, to younger: ThinID) throws -> [UInt8]
  func setTransactionID(pool: String, from old: UInt64, to new: UInt64) throws
  /// Finds the devices of a pool that is about to be used, attaching loop devices where needed.
  func attach(_ backing: PoolCatalog.Backing) throws -> AttachedBacking
  /// Makes a pool's file larger, and the loop device over it.
  func enlarge(file: String, to bytes: UInt64) throws
  func prepare(_ disks: [EpochSnapshots.Disk]) throws -> any PreparedSnapshots
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

  func attach(_ backing: PoolCatalog.Backing) throws -> AttachedBacking {
    try require(target: "thin-pool", module: "dm_thin_pool")
    let (data, metadata): (String, String) =
      switch backing {
      case .devices(let data, let metadata): (data, metadata)
      case .files(let data, let metadata): (try LoopDevice.attach(data), try LoopDevice.attach(metadata))
      }
    return AttachedBacking(
      data: try Self.number(data), metadata: try Self.number(metadata),
      dataSectors: try BlockDevice.size(data) / 512,
      metadataIsFormatted: try DeviceSignature.of(metadata) == .thinMetadata)
  }

  private static func number(_ path: String) throws -> DeviceNumber {
    guard let number = DeviceNumber(ofDevice: path) else {
      throw PoolError.unusable(device: path, why: "it is not a block device, or not there")
    }
    return number
  }
}
