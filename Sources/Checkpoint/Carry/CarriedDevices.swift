import DeviceMapper
import Glibc
import Synchronization

/// Devices through which disks' bytes go in or out, for as long as somebody carries them. Each says in its uuid whose it is and which
/// process carries, so that what a killed one left is found.
struct CarriedDevices {
  let pools: Pools

  private static let made = Atomic<Int>(0)

  /// Makes a device over a snapshot of an epoch, or over what is to become one.
  ///
  /// - Returns: its name.
  func make(_ snapshot: PoolCatalog.Snapshot, in pool: OpenPool, readOnly: Bool) throws -> String {
    guard let number = try pool.operations.info(pool.device)?.number else { throw PoolError.unknown(pool: pool.name) }
    let count = Self.made.add(1, ordering: .relaxed).newValue
    let device = "\(DeviceName.namePrefix)carry-\(getpid())-\(count)"
    try pool.operations.create(
      device, uuid: "\(EpochView.uuid(.carried, of: snapshot, in: pool.catalog))-\(getpid())",
      table: [
        .thin(
          pool: number, id: snapshot.thinID, sectors: snapshot.sizeSectors, origin: pool.origin(of: snapshot.device))
      ], readOnly: readOnly)
    return device
  }

  /// Takes away what killed exports of a guest left. Other exports may run.
  func removeDead(of guestUUID: String) throws {
    let views = EpochViews(pools: pools)
    for view in try views.list() where view.guestUUID == guestUUID && view.kind == .carried {
      guard let carrier = view.carrier, kill(carrier, 0) != 0, errno == ESRCH else { continue }
      try views.remove(view)
    }
  }
}
