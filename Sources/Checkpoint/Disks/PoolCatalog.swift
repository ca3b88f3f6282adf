import DeviceMapper

/// What we know of one pool: its devices, who owns which thin id, and the change that was about to be made. Written to
/// `catalog.json` in the pool's folder before and after every change, so that a crash can be settled.
struct PoolCatalog: Codable, Equatable, Sendable {
  /// Where the pool's bytes are.
  enum Backing: Codable, Equatable, Sendable {
    case devices(data: String, metadata: String)
    /// Sparse files, attached through loop devices.
    case files(data: String, metadata: String)
  }

  /// A guest's disk: the thin id that is live now, and the device that shows it.
  struct Volume: Codable, Equatable, Sendable {
    var guest: String
    var vdev: String
    var thinID: ThinID
    var sizeSectors: UInt64
    var device: String
    /// What an adopted disk was before, and still reads what it has not written since.
    var origin: AdoptedOrigin?
    /// Of a clone: the device of the adopted disk, in the same pool, from whose origin it reads what it does not hold.
    var standsOn: String?

    /// The read-only device over the origin's data.
    var originDevice: String { "\(standsOn ?? device)-origin" }

    enum CodingKeys: String, CodingKey {
      case guest, vdev, device, origin
      case thinID = "thin_id"
      case sizeSectors = "size_sectors"
      case standsOn = "stands_on"
    }
  }

  /// One disk of one epoch. Never active as a device.
  struct Snapshot: Codable, Equatable, Sendable {
    var guestUUID: String
    var epoch: Int
    var vdev: String
    var thinID: ThinID
    var sizeSectors: UInt64
    /// The device of the volume it was taken of, and to which it is rolled back.
    var device: String
    /// The guest's folder was found not to know the epoch; see ``DiskOnlyEpochs``.
    var isUnknown: Bool?

    enum CodingKeys: String, CodingKey {
      case epoch, vdev, device
      case isUnknown = "unknown"
      case guestUUID = "guest_uuid"
      case thinID = "thin_id"
      case sizeSectors = "size_sectors"
    }
  }

  /// A live volume that a rollback replaced, kept until the rollback is committed.
  struct Superseded: Codable, Equatable, Sendable {
    var guestUUID: String
    var device: String
    var thinID: ThinID

    enum CodingKeys: String, CodingKey {
      case device
      case guestUUID = "guest_uuid"
      case thinID = "thin_id"
    }
  }

  /// One device that goes from one thin id to another.
  struct Swap: Codable, Equatable, Sendable {
    var guestUUID: String
    var device: String
    var old: ThinID
    var new: ThinID

    enum CodingKeys: String, CodingKey {
      case device, old, new
      case guestUUID = "guest_uuid"
    }
  }

  /// A change that was begun with the pool at transaction `from` and is done when the pool is at `from + 1`.
  struct Intent: Codable, Equatable, Sendable {
    enum Change: Codable, Equatable, Sendable {
      case createVolume(volume: Volume)
      case takeEpoch(snapshots: [Snapshot])
      /// The new ids are snapshots made for this.
      case rollBack(swaps: [Swap])
      /// Back from a rollback: the new ids are the superseded volumes.
      case undoRollback(swaps: [Swap])
      /// The new ids are snapshots of an epoch, for another guest.
      case cloneEpoch(volumes: [Volume])
      case removeVolumes(volumes: [Volume])
    }

    var from: UInt64
    var change: Change
  }

  /// A removal of the pool that was begun.
  enum Removal: String, Codable, Sendable {
    /// The pool was opened, so its devices are its own for sure: what it wrote at their starts goes.
    case wiping
    /// It could not be opened, so they may be somebody else's by now, or full of disks: they are left as they are.
    case leaving
  }

  static let currentFormat = 1
  /// With adopted disks: who does not know of their origins would show their volumes without them.
  static let formatWithOrigins = 2
  /// With adopted disks that were written past: who does not know of it would use them again.
  static let formatWithPassedOrigins = 3
  /// With clones of adopted disks: who does not know what they stand on would show them without it, and give it away.
  static let formatWithClonesOfAdopted = 4

  var format = Self.currentFormat
  var name: String
  /// Random, part of the uuids of our devices: a pool of the same name in another store is another pool.
  var identity: String
  var backing: Backing
  var blockSectors: UInt64 = 128
  var transactionID: UInt64 = 0
  /// Ids are given once and never again, so that a late delete cannot hit a younger volume.
  var nextThinID: ThinID = 1
  var volumes: [Volume] = []
  var epochs: [Snapshot] = []
  var superseded: [Superseded] = []
  /// Ids that nothing refers to any more, still to be deleted in the pool.
  var doomed: [ThinID] = []
  var intent: Intent?
  /// nil for a pool that can be used.
  var removal: Removal?

  enum CodingKeys: String, CodingKey {
    case format, name, identity, backing, volumes, epochs, superseded, doomed, intent, removal
    case blockSectors = "block_sectors"
    case transactionID = "transaction_id"
    case nextThinID = "next_thin_id"
  }

  /// dm-thin stamps every snapshot with a 24-bit clock that wraps without a check and would corrupt mappings; each id given
  /// is one tick at most. Stop well before 2^24.
  static let lastThinID: ThinID = 15_000_000

  // No guest's disk can be called "pool", so pool and disk devices never share a name.
  var poolDevice: String { "\(DeviceName.namePrefix)\(name)-pool" }
  /// Names of all devices that are made for it: its own, its volumes', and what adopted ones stand on.
  var devices: Set<String> { Set([poolDevice] + volumes.flatMap { [$0.device, $0.originDevice] }) }
  var poolUUID: String { "\(DeviceName.uuidPrefix)\(identity)-pool" }
  func uuid(of volume: Volume) -> String { uuid(ofDevice: volume.device) }
  func uuid(ofDevice device: String) -> String { "\(DeviceName.uuidPrefix)\(identity)-\(device)" }

  /// This catalogue as it was before the first change.
  var asCreated: PoolCatalog {
    PoolCatalog(name: name, identity: identity, backing: backing, blockSectors: blockSectors)
  }

  /// What no pool can be like; nil when there is nothing. To act by it would delete what an epoch or a guest has.
  var nonsense: String? {
    // 64 KiB to 1 GiB, by 64 KiB (Documentation/admin-guide/device-mapper/thin-provisioning.rst).
    guard (128...2_097_152).contains(blockSectors), blockSectors % 128 == 0 else {
      return "blocks of \(blockSectors) sectors"
    }
    let ids = volumes.map(\.thinID) + epochs.map(\.thinID) + superseded.map(\.thinID)
    var used = Set<ThinID>()
    if let twice = ids.first(where: { !used.insert($0).inserted }) { return "thin id \(twice) stands there twice" }
    if let doomed = doomed.first(where: used.contains) { return "thin id \(doomed) is used and to be deleted" }
    if let later = (ids + doomed).first(where: { $0 >= nextThinID }) { return "thin id \(later) was not given yet" }
    return nil
  }

  /// - Throws: `PoolError.exhausted` when the pool cannot give so many ids any more.
  func requireThinIDs(_ count: Int) throws {
    guard Int(nextThinID) + count <= Int(Self.lastThinID) + 1 else { throw PoolError.exhausted(pool: name) }
  }

  mutating func takeThinID() throws -> ThinID {
    try requireThinIDs(1)
    defer { nextThinID += 1 }
    return nextThinID
  }
}
