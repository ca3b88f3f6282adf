import DeviceMapper
public import EpochStore
import Synchronization

/// The disks of a running guest, found in our pools.
///
/// From `reserve` to `commit` or `abandon` the pools of the guest are locked: takes of guests that share a pool follow one another.
public final class GuestDisks: DiskSet {
  private struct Member: Sendable {
    /// What the guest's configuration calls the disk: the epoch's name for it, which need not be the volume's.
    var vdev: String
    var pool: String
    var volume: PoolCatalog.Volume
  }

  /// The epoch under way. Not Sendable by itself; only ever touched inside the mutex.
  private struct Reserved: ~Copyable {
    var pools: [OpenPool] = []
    var prepared: (any PreparedSnapshots)?
    var epoch = 0
    var disks: [DiskEpoch]
  }

  private let pools: Pools
  private let guestUUID: String
  private let members: [Member]
  private let state: Mutex<Reserved>

  /// Names of the live volumes that the pause suspends.
  var devices: [String] { members.map(\.volume.device) }

  public var disks: [DiskEpoch] { state.withLock { $0.disks } }

  /// Matches the guest's disks, as xenstore shows them, to the volumes of our pools by major:minor. Read-only disks are left alone.
  ///
  /// - Parameter onlyLooking: takes no lock and changes nothing; else what another tool did to an adopted disk is written down.
  /// - Throws: `DiskError.notInPool` for a writable disk that is not ours, `DiskError.tableDiffers` when the kernel runs something else
  ///   than the catalogue says, `AdoptionError` for an adopted disk that another tool worked on.
  public init(
    pools: Pools, guest: String, guestUUID: String, disks: [GuestDisk], onlyLooking: Bool = false
  ) throws {
    self.pools = pools
    self.guestUUID = guestUUID
    let catalogs = try pools.catalogs()
    var members: [Member] = []
    var entries: [DiskEpoch] = []
    for disk in disks {
      var entry = DiskEpoch(
        vdev: disk.vdev, pool: "", thinID: nil, sizeBytes: 0, device: disk.path, readOnly: disk.readOnly)
      if !disk.readOnly {
        guard let member = try Self.find(disk, in: catalogs, pools, onlyLooking: onlyLooking) else {
          throw DiskError.notInPool(guest: guest, vdev: disk.vdev, path: disk.path)
        }
        members.append(member)
        entry.pool = member.pool
        entry.sizeBytes = member.volume.sizeSectors * 512
        entry.sectorBytes = try pools.operations.sectorBytes(member.volume.device)
        entry.device = "/dev/mapper/\(member.volume.device)"
      }
      entries.append(entry)
    }
    self.members = members
    state = Mutex(Reserved(disks: entries))
  }

  /// The volume with the disk's number, whose live table is what the catalogue says.
  private static func find(
    _ disk: GuestDisk, in catalogs: [PoolCatalog], _ pools: Pools, onlyLooking: Bool
  ) throws -> Member? {
    let operations = pools.operations
    for catalog in catalogs {
      for volume in catalog.volumes where try operations.shows(disk.number, volume) {
        if let adopted = catalog.adopted(under: volume.device), let origin = adopted.origin {
          do { try operations.requireOurs(adopted, origin) } catch {
            // Whoever opens the pool writes down what was done to the disk.
            if !onlyLooking { _ = try? pools.open(catalog.name) }
            throw error
          }
        }
        guard let info = try operations.info(volume.device), let pool = try operations.info(catalog.poolDevice) else {
          continue
        }
        let expected = Target.thin(
          pool: pool.number, id: volume.thinID, sectors: volume.sizeSectors,
          origin: try volume.hasOrigin ? operations.info(volume.originDevice)?.number : nil)
        let found = try operations.table(volume.device)
        guard found == [expected], info.uuid == catalog.uuid(of: volume) else {
          throw DiskError.tableDiffers(
            device: volume.device, found: found.map(\.description).joined(separator: " | "),
            expected: expected.description)
        }
        return Member(vdev: disk.vdev, pool: catalog.name, volume: volume)
      }
    }
    return nil
  }

  public func forgetUnpublished(published: Set<Int>, used: Int) throws {
    try DiskHistory(pools, guestUUID: guestUUID).forgetUnpublished(published: published, used: used)
  }

  public func diskOnlyEpochs(published: Set<Int>, used: Int) throws -> [DiskOnlyEpochs] {
    try DiskHistory(pools, guestUUID: guestUUID).diskOnlyEpochs(published: published, used: used)
  }

  public func mountedEpochs() throws -> Set<Int> { try EpochViews(pools: pools).epochs(of: guestUUID) }

  public func rooms() throws -> [PoolRoom] {
    try Set(members.map(\.pool)).sorted().map { name in
      func look() throws -> (PoolCatalog, PoolStatus) {
        let catalog = try PoolFolder(store: pools.store, name: name).load()
        return (catalog, try pools.operations.poolStatus(catalog.poolDevice))
      }
      let (catalog, status) = try look()
      guard let growth = try pools.growMetadataWhenLow(catalog, status) else { return PoolRoom(catalog, status) }
      let grown = try look()
      var room = PoolRoom(grown.0, grown.1)
      room.warnings.insert(growth, at: 0)
      return room
    }
  }

  public func check(epoch: Int) throws {
    for name in Set(members.map(\.pool)).sorted() { try check(epoch, in: pools.open(name)) }
  }

  public func reserve(epoch: Int) throws {
    try state.withLock { state in
      guard state.pools.isEmpty else { throw DiskError.outOfOrder(call: "reserve") }
      state.epoch = epoch
      var prepared: [EpochSnapshots.Disk] = []
      do {
        // In the order of their names, so that two guests that share two pools cannot wait for each other.
        for name in Set(members.map(\.pool)).sorted() {
          let pool = try pools.open(name)
          state.pools.append(pool)
          prepared += try reserve(epoch, in: pool, &state.disks)
        }
        state.prepared = try pools.operations.prepare(prepared)
      } catch {
        // The first error is the one to report; what cannot be taken back now is settled by the pool's next user.
        for pool in state.pools { try? pool.abandon() }
        Self.release(&state)
        throw error
      }
    }
  }

  private func check(_ epoch: Int, in pool: OpenPool) throws {
    guard !pool.catalog.has(guestUUID, epoch) else {
      throw DiskError.badName("epoch \(epoch)", why: "pool \(pool.name) has disks of this epoch already")
    }
    let ours = members.filter { $0.pool == pool.name }.map(\.volume)
    for volume in ours { try pool.requireDevice(volume.device) }
    try PoolReserve.check(pool.catalog, pool.operations.poolStatus(pool.device), ids: ours.count)
  }

  /// Checks one pool, and writes down the snapshots that are about to be made in it.
  private func reserve(
    _ epoch: Int, in pool: OpenPool, _ disks: inout [DiskEpoch]
  ) throws -> [EpochSnapshots.Disk] {
    try check(epoch, in: pool)
    let ours = members.filter { $0.pool == pool.name }
    var snapshots: [PoolCatalog.Snapshot] = []
    try pool.begin { catalog in
      snapshots = try ours.map { member in
        PoolCatalog.Snapshot(
          guestUUID: guestUUID, epoch: epoch, vdev: member.vdev, thinID: try catalog.takeThinID(),
          sizeSectors: member.volume.sizeSectors, device: member.volume.device)
      }
      return .takeEpoch(snapshots: snapshots)
    }
    return zip(ours, snapshots).map { member, snapshot in
      for index in disks.indices where disks[index].vdev == member.vdev { disks[index].thinID = snapshot.thinID }
      return EpochSnapshots.Disk(
        device: member.volume.device, pool: pool.device, live: member.volume.thinID, epoch: snapshot.thinID)
    }
  }

  public func snapshot() throws -> [String: Double] {
    let prepared = state.withLock { $0.prepared }
    guard let prepared else { throw DiskError.outOfOrder(call: "snapshot") }
    let times = try prepared.begin()
    return [
      "suspend": Double(times.suspend) / 1e6, "create_snap": Double(times.createSnapshots) / 1e6,
      "resume": Double(times.resume) / 1e6,
    ]
  }

  public func commit() throws {
    try state.withLock { state in
      guard state.prepared != nil else { throw DiskError.outOfOrder(call: "commit") }
      for pool in state.pools where pool.catalog.intent != nil { try pool.commit() }
      // The epoch number stays, so that a later failure of the take can still be abandoned.
      state.pools = []
      state.prepared = nil
    }
  }

  /// Takes the epoch back, whether or not it was committed. Does nothing when none was reserved.
  public func abandon() throws {
    try state.withLock { state in
      let epoch = state.epoch
      guard epoch != 0 else { return }
      defer { Self.release(&state) }
      for pool in state.pools { try pool.abandon() }
      state.pools = []
      try DiskHistory(pools, guestUUID: guestUUID).forget(epoch: epoch)
    }
  }

  private static func release(_ state: inout Reserved) {
    state.pools = []
    state.prepared = nil
    state.epoch = 0
    for index in state.disks.indices { state.disks[index].thinID = nil }
  }
}
