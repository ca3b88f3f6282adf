import DeviceMapper

/// Disks that are about to go back to an epoch, in two steps. The first is done while the old guest runs, and shows nowhere: whatever may
/// fail, or has to wait for a neighbour, comes here. The second points the devices at the epoch, when the guest is destroyed. The pools
/// stay locked until then.
///
/// Why a crash leaves the right disks wherever it comes: the first step writes the intent and makes the snapshots while the pool is at
/// transaction T. Only `commit` moves it to T+1, at the very end of the second step, after the guest's end and the last swap. A pool that
/// is found at T is taken back (`OpenPool.settle`): the snapshots go, and each device shows what it did. Under a guest that was not
/// destroyed yet nothing was swapped, so that its devices show that already, and are not touched. A pool that is found at T+1 is of a
/// guest that is gone, and all its devices were swapped: the catalogue follows. After a boot they are made as the catalogue then says.
///
/// Of several pools each has its own T; a crash between two leaves some disks turned back and some not, which the next rollback mends:
/// the guest's folder tells of one that did not end.
final class BegunRollback {
  private let history: DiskHistory
  private let epoch: Int
  private var parts: [(pool: OpenPool, swaps: [PoolCatalog.Swap])] = []

  fileprivate init(_ history: DiskHistory, _ epoch: Int) { (self.history, self.epoch) = (history, epoch) }

  deinit { abandon() }

  fileprivate var isEmpty: Bool { parts.isEmpty }

  fileprivate func begin(in pool: OpenPool, users: DiskUsers) throws {
    try history.check(pool: pool, epoch, users: users)
    let snapshots = pool.catalog.snapshots(history.guestUUID, epoch)
    try history.requireThinIDs(for: snapshots, in: pool.catalog)
    try history.makeMissing(snapshots, in: pool)
    var swaps: [PoolCatalog.Swap] = []
    try pool.begin { catalog in
      swaps = try snapshots.map { snapshot in
        PoolCatalog.Swap(
          guestUUID: history.guestUUID, device: snapshot.device, old: catalog.live(snapshot.device),
          new: try catalog.takeThinID())
      }
      return .rollBack(swaps: swaps)
    }
    parts.append((pool, swaps))
    for (snapshot, swap) in zip(snapshots, swaps) {
      try pool.operations.createSnapshot(pool: pool.device, id: swap.new, of: snapshot.thinID)
    }
  }

  /// The second step: each device shows the epoch, in place: same name, same major:minor, open handles stay. What was live is kept until
  /// ``DiskHistory/commitRollback()``; ``DiskHistory/undo(_:)`` goes back to it.
  ///
  /// - Parameters:
  ///   - done: what was done, also when this throws: then it is to be undone.
  ///   - users: who may have the disks open by now.
  func finish(_ done: inout DiskHistory.RolledBack, users: DiskUsers) throws {
    do {
      for (pool, _) in parts { try history.check(pool: pool, epoch, users: users) }
      for (pool, swaps) in parts {
        // Before it is done: it may fail and be done all the same, when only the catalogue could not be written.
        done.swaps.append((pool.name, swaps.filter { !pool.isLost($0.device) }))
        done.raised += swaps.filter { pool.isLost($0.device) }
        for swap in swaps { try pool.show(swap.new, on: swap.device) }
        try pool.commit()
        for swap in swaps where pool.isLost(swap.device) { try pool.raiseLost(swap.device) }
      }
    } catch {
      abandon()
      throw error
    }
    parts = []
  }

  /// Takes back what was begun, and lets go of the pools. What cannot be taken back now, a pool's next user settles.
  func abandon() {
    for (pool, _) in parts { try? pool.abandon() }
    parts = []
  }
}

extension DiskHistory {
  /// Does the first step of a rollback. A disk that the guest does not have is made, and stays whatever comes of it.
  ///
  /// - Parameter users: who may have the disks open.
  /// - Throws: as ``check(pool:_:users:)``, `DiskError.noSuchEpoch`, and whatever keeps a pool from being locked or changed; nothing was.
  func beginRollback(to epoch: Int, users: DiskUsers) throws -> BegunRollback {
    let begun = BegunRollback(self, epoch)
    // In the order of their names, as takes lock them: so none waits for another.
    for catalog in try pools.catalogs() where catalog.has(guestUUID, epoch) {
      try begun.begin(in: pools.open(catalog.name), users: users)
    }
    guard !begun.isEmpty else { throw DiskError.noSuchEpoch(guest: guestName, epoch: epoch) }
    return begun
  }

  /// What one rollback did, or was about to do when it failed.
  public struct RolledBack: Sendable {
    fileprivate var swaps: [(pool: String, swaps: [PoolCatalog.Swap])] = []
    /// Of disks that were lost: there is nothing to go back to.
    fileprivate var raised: [PoolCatalog.Swap] = []
  }

  /// Goes back to what was live before a rollback: of each disk that still shows what it brought. What an older rollback left, whose
  /// process died, is none of its business: the guest may have run on since.
  ///
  /// - Returns: false when there was nothing to go back to.
  /// - Throws: what is wrong with one of the disks, and whatever keeps a pool from being changed.
  @discardableResult
  public func undo(_ rolledBack: RolledBack) throws -> Bool {
    var undone = false
    for (name, done) in rolledBack.swaps {
      let pool = try pools.open(name)
      let swaps = done.filter { pool.catalog.shows($0) }.map {
        PoolCatalog.Swap(guestUUID: guestUUID, device: $0.device, old: $0.new, new: $0.old)
      }
      guard !swaps.isEmpty else { continue }
      for swap in swaps { try pool.requireDevice(swap.device) }
      try pool.perform(.undoRollback(swaps: swaps)) {
        for swap in swaps { try pool.show(swap.new, on: swap.device) }
      }
      undone = true
    }
    return undone
  }

  /// What somebody should know of disks after a rollback that came to nothing; see ``undo(_:)``.
  ///
  /// - Parameter why: it could not be undone; nil when it was.
  /// - Returns: nil when all show what they did before.
  func remainder(of rolledBack: RolledBack, epoch: Int, _ why: String? = nil) -> String? {
    let lost = lostDisks(of: rolledBack, epoch: epoch)
    guard let why else {
      let hasOthers = rolledBack.swaps.contains { !$0.swaps.isEmpty }
      return lost.map { $0 + (hasOthers ? "; its other disks are as it left them" : "") }
    }
    let parts = [notTurnedBack(rolledBack, epoch: epoch, why), lost].compactMap { $0 }
    return parts.isEmpty ? nil : parts.joined(separator: "; ")
  }

  /// Of disks that were lost, those that were made of the epoch, by the catalogues.
  private func lostDisks(of rolledBack: RolledBack, epoch: Int) -> String? {
    let devices = rolledBack.raised.filter(isLive).map(\.device)
    guard !devices.isEmpty else { return nil }
    let names = devices.joined(separator: ", ")
    return devices.count == 1
      ? "disk \(names), which was lost, shows epoch \(epoch)" : "disks \(names), which were lost, show epoch \(epoch)"
  }

  /// Whether what a rollback brought is the disk's by now, as far as that can be read.
  private func isLive(_ swap: PoolCatalog.Swap) -> Bool {
    guard let catalogs = try? pools.catalogs() else { return true }
    let volumes = catalogs.flatMap(\.volumes)
    return volumes.contains { $0.device == swap.device && $0.thinID == swap.new }
  }

  /// By what the devices show.
  private func notTurnedBack(_ rolledBack: RolledBack, epoch: Int, _ why: String) -> String? {
    let swaps = rolledBack.swaps.flatMap { $0.swaps }
    guard !swaps.isEmpty else { return nil }
    let shown = swaps.filter(mayShow).map(\.device)
    if shown.isEmpty { return "its disks show what it left, but that they were turned back is not settled: \(why)" }
    let which = shown.count == swaps.count ? "" : " \(shown.joined(separator: ", "))"
    return "ITS DISKS\(which) ARE AS IN EPOCH \(epoch) and could not be turned back: \(why)"
  }

  /// Whether the device shows what a rollback brought, as far as it can be asked.
  private func mayShow(_ swap: PoolCatalog.Swap) -> Bool {
    guard let table = try? pools.operations.table(swap.device) else { return true }
    return table.first?.thinVolume?.id == swap.new
  }
}

extension PoolCatalog {
  fileprivate func live(_ device: String) -> ThinID {
    // Callers have found the volume in the same catalogue.
    volumes.first { $0.device == device }!.thinID
  }

  /// The swap was made, and what it replaced is still there.
  fileprivate func shows(_ swap: Swap) -> Bool {
    volumes.contains { $0.device == swap.device && $0.thinID == swap.new }
      && superseded.contains { $0.device == swap.device && $0.thinID == swap.old }
  }
}
