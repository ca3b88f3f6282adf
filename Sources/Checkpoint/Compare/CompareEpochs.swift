public import EpochStore

extension Engine {
  /// What changed from one epoch of a guest to another: pages by content, disks by the blocks of their pool.
  ///
  /// - Parameter cancellation: heard all the time.
  /// - Throws: `StoreError` for a damaged file, ``CheckpointError/interrupted``. A disk that cannot be compared says so in the result.
  public func difference(
    _ guest: String, from first: EpochReference, to second: EpochReference,
    cancellation: TakeCancellation = TakeCancellation()
  ) throws -> EpochDifference {
    try difference(
      guest, from: first, to: second, pools: { try pools().waiting(for: cancellation) }, cancellation: cancellation)
  }

  func difference(
    _ guest: String, from first: EpochReference, to second: EpochReference, pools: () throws -> Pools,
    cancellation: TakeCancellation
  ) throws -> EpochDifference {
    let folder = try folder(of: guest)
    let lock = try folder.lock(.shared)
    defer { _ = lock }
    let older = try folder.open(epoch: resolve(first, in: folder, of: guest))
    let younger = try folder.open(epoch: resolve(second, in: folder, of: guest))
    return EpochDifference(
      first: older.manifest, second: younger.manifest, memory: try Self.memory(older, younger, cancellation.check),
      disks: try Self.disks(older.manifest, younger.manifest, pools, cancellation))
  }

  static func memory(
    _ older: EpochReader, _ younger: EpochReader, _ mayGoOn: () throws -> Void = {}
  ) throws -> [EpochDifference.Region] {
    var counter = RegionCounter()
    younger.forEachGroup { pfn, pages in counter.count(pfn) { $0.pages += pages.nonzeroBitCount } }
    try younger.forEachChange(since: older, mayGoOn) { pfn, change in
      counter.count(pfn) { region in
        switch change {
        case .changed: region.changed += 1
        case .added: region.added += 1
        case .removed: region.removed += 1
        }
      }
    }
    return counter.regions(most: EpochDifference.mostRegions)
  }

  private static func disks(
    _ older: EpochManifest, _ younger: EpochManifest, _ pools: () throws -> Pools, _ cancellation: TakeCancellation
  ) throws -> [EpochDifference.Disk] {
    try Set((older.disks + younger.disks).map(\.vdev)).sorted().map { vdev in
      let before = older.disks.first { $0.vdev == vdev }
      let after = younger.disks.first { $0.vdev == vdev }
      var disk = EpochDifference.Disk(vdev: vdev, sizeBytes: (after ?? before)?.sizeBytes ?? 0)
      guard let before, let after else {
        disk.problem = "only epoch \(before == nil ? younger.epoch : older.epoch) has it"
        return disk
      }
      do { disk.problem = try compare((older, before), (younger, after), pools, &disk) } catch {
        // Ctrl-C ends tools that are at work here as well.
        try cancellation.check()
        disk.problem = "\(error)"
      }
      return disk
    }
  }

  private typealias DiskOfEpoch = (epoch: EpochManifest, disk: EpochManifest.Disk)

  /// - Returns: why they are not compared; nil when they are.
  private static func compare(
    _ older: DiskOfEpoch, _ younger: DiskOfEpoch, _ pools: () throws -> Pools, _ result: inout EpochDifference.Disk
  ) throws -> String? {
    guard let old = older.disk.thinID, let new = younger.disk.thinID else {
      let leftOut = [older, younger].first { $0.disk.isLeftOut }
      return leftOut.map { "epoch \($0.epoch.epoch) came from xl save, without it" } ?? "read-only, it has no snapshots"
    }
    guard older.disk.pool == younger.disk.pool else {
      return "it moved from pool \(older.disk.pool) to \(younger.disk.pool)"
    }
    let pools = try pools()
    let history = DiskHistory(pools, guestUUID: younger.epoch.uuid)
    for (epoch, disk) in [older, younger] where try !history.holds(disk, of: epoch.epoch) {
      return "pool \(disk.pool) does not have epoch \(epoch.epoch)'s any more"
    }
    let (output, blockBytes) = try pools.thinDelta(younger.disk.pool, from: old, to: new)
    guard let delta = ThinDelta(thinDelta: output) else { throw Pools.notUnderstood }
    (result.delta, result.blockBytes) = (delta, blockBytes)
    var counter = DiskRegionCounter(sizeBytes: result.sizeBytes, blockBytes: blockBytes)
    _ = ThinDelta.forEachRange(thinDelta: output) { counter.count($0, $1, $2) }
    result.regions = counter.regions
    return nil
  }
}
