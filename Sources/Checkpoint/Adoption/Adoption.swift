import DeviceMapper
import Glibc

/// A disk that was adopted.
public struct AdoptedDisk: Equatable, Sendable {
  public var vdev: String
  public var pool: String
  /// `vg0/web`: its data stay where they are.
  public var volume: String
  /// What the guest's configuration names now, and what it is to name.
  public var oldPath: String
  public var path: String
  public var sizeBytes: UInt64
  /// For how long the guest's requests to this disk waited.
  public var heldNanoseconds: UInt64
}

extension Pools {
  /// Moves disks of a running guest, volumes of LVM, into a pool while it uses them. The old volume's device keeps its number; its
  /// table is swapped for one over a thin volume, which reads what it has not written from the old volume's data.
  ///
  /// All disks are checked before the first one is touched. When one fails, those before it stay adopted.
  ///
  /// - Parameters:
  ///   - disks: as xenstore shows them.
  ///   - named: the disks to adopt; all writable ones when empty.
  ///   - pool: nil for the only pool there is.
  ///   - adopted: told each disk as soon as it is adopted, whatever comes of the next one.
  /// - Returns: what was adopted now; those that are in a pool already are left out.
  /// - Throws: ``AdoptionError``, ``DiskError``, ``PoolError``.
  @discardableResult
  public func adopt(
    guest: String, disks: [GuestDisk], named: [String] = [], pool: String? = nil,
    adopted: (AdoptedDisk) -> Void = { _ in }
  ) throws -> [AdoptedDisk] {
    let writable = disks.filter { !$0.readOnly }
    guard !writable.isEmpty else { throw AdoptionError.noDisks(guest: guest) }
    if let unknown = named.first(where: { name in !writable.contains { $0.vdev == name } }) {
      throw AdoptionError.noSuchDisk(guest: guest, vdev: unknown, known: writable.map(\.vdev))
    }
    let opened = try open(pool ?? defaultName())
    let candidates = try writable.filter { named.isEmpty || named.contains($0.vdev) }.compactMap {
      try Candidate($0, guest: guest, pools: self, into: opened.device, patience: lockWait)
    }
    guard !candidates.isEmpty else { return [] }
    try PoolReserve.check(opened.catalog, opened.operations.poolStatus(opened.device), ids: candidates.count)
    return try candidates.map { candidate in
      let disk = try opened.adopt(candidate)
      adopted(disk)
      return disk
    }
  }
}

/// A disk that can be adopted.
struct Candidate {
  let guest: String
  let vdev: String
  let path: String
  let volume: LogicalVolume
  let old: DeviceInfo
  let sectors: UInt64
  /// The device that is to be made.
  let device: String

  /// - Parameter pool: the device of the pool that it is to come into.
  /// - Returns: nil for a disk that is in a pool already.
  /// - Throws: `AdoptionError.notAdoptable`; `DiskError` when the name of its device cannot be had.
  init?(_ disk: GuestDisk, guest: String, pools: Pools, into pool: String, patience: Double) throws {
    let operations = pools.operations
    func refused(_ obstacle: AdoptionError.Obstacle) -> AdoptionError {
      .notAdoptable(guest: guest, vdev: disk.vdev, path: disk.path, obstacle)
    }
    guard disk.number != DeviceNumber(major: 0, minor: 0) else { throw refused(.noBlockBackend) }
    let volumes = try pools.catalogs().flatMap(\.volumes)
    if try volumes.contains(where: { try operations.shows(disk.number, $0) }) { return nil }
    guard let name = try operations.list().first(where: { $0.number == disk.number })?.name,
      let info = try operations.info(name)
    else { throw refused(disk.number.major == Self.loopMajor ? .loopFile : .noMapping) }
    guard info.uuid.hasPrefix("LVM-"), let volume = LogicalVolume(device: name) else {
      throw refused(.notLVM(uuid: info.uuid))
    }
    let table = try operations.table(name)
    // Two devices with such a table can stand side by side; RAID, cache and snapshots keep a state that only one may write.
    if let other = table.first(where: { !["linear", "striped", "thin"].contains($0.type) }) {
      throw refused(.kind(other.type))
    }
    let (sector, poolSector) = (try operations.sectorBytes(name), try operations.sectorBytes(pool))
    guard sector == poolSector else { throw refused(.sectors(bytes: sector, ofPool: poolSector)) }
    let device = try Disks.deviceName(guest: guest, vdev: disk.vdev)
    guard !volumes.contains(where: { $0.device == device }), try operations.info(device) == nil else {
      throw DiskError.exists(device: device)
    }
    // Imported epochs are whole: what they have no block for must not be read from the old volume.
    let imported = try pools.catalogs().flatMap(\.epochs).filter { $0.device == device }
    if let first = imported.first { throw refused(.imported(uuid: first.guestUUID, epochs: imported.map(\.epoch))) }
    let openers = try operations.openers(of: name, atMost: 1, patience: patience)
    guard openers <= 1 else { throw refused(.shared(openers: openers)) }
    (self.guest, vdev, path, self.volume, old) = (guest, disk.vdev, disk.path, volume, info)
    (sectors, self.device) = (table.reduce(0) { $0 + $1.sectors }, device)
  }

  private static let loopMajor: UInt32 = 7
}

extension OpenPool {
  /// The catalogue knows of the volume before the guest writes to it: whatever is lost by a crash or a power cut from then on, the thin
  /// volume over the old one's data is the newest content.
  func adopt(_ disk: Candidate) throws -> AdoptedDisk {
    let origin = AdoptedOrigin(
      volume: "\(disk.volume)", device: disk.old.name, uuid: disk.old.uuid, path: disk.path, state: .adopting)
    var volume = PoolCatalog.Volume(
      guest: disk.guest, vdev: disk.vdev, thinID: 0, sizeSectors: disk.sectors, device: disk.device, origin: origin)
    var held: UInt64 = 0
    do {
      try perform { catalog in
        volume.thinID = try catalog.takeThinID()
        return .createVolume(volume: volume)
      } _: {
        try operations.createThin(pool: device, id: volume.thinID)
      }
      try lvm(origin) { try operations.markAsOrigin($0) }
      let signals = HeldSignals()
      defer { signals.release() }
      held = try operations.swapLive(
        origin.device, to: [operations.shownTable(of: volume)], flushing: volume.originDevice)
    } catch {
      // The first error is the one to report; what cannot be taken back now is settled by the pool's next user.
      if catalog.volumes.contains(volume) { try? forget(volume, origin) }
      throw error
    }
    try recordAdoption(of: volume)
    return AdoptedDisk(
      vdev: disk.vdev, pool: name, volume: origin.volume, oldPath: disk.path, path: "/dev/mapper/\(disk.device)",
      sizeBytes: disk.sectors * 512, heldNanoseconds: held)
  }
}

extension ThinPoolOperations {
  /// How many have the device open, after waiting a while for those who do for an instant only.
  func openers(of device: String, atMost expected: Int, patience: Double) throws -> Int {
    var left = patience
    while true {
      let count = try self.info(device)?.openCount ?? 0
      guard count > expected, left > 0 else { return count }
      usleep(100_000)
      left -= 0.1
    }
  }
}
