public import EpochStore

extension Engine {
  /// What changed from one epoch of a guest to another: pages by content, disks by the blocks of their pool.
  ///
  /// - Throws: `StoreError` for a damaged file. A disk that cannot be compared says so in the result.
  public func difference(_ guest: String, from first: EpochReference, to second: EpochReference) throws
    -> EpochDifference
  {
    let folder = try folder(of: guest)
    let lock = try folder.lock(.shared)
    defer { _ = lock }
    let older = try folder.open(epoch: resolve(first, in: folder, of: guest))
    let younger = try folder.open(epoch: resolve(second, in: folder, of: guest))
    return EpochDifference(
      first: older.manifest, second: younger.manifest, memory: try Self.memory(older, younger),
      disks: disks(older.manifest, younger.manifest))
  }

  static func memory(_ older: EpochReader, _ younger: EpochReader) throws -> [EpochDifference.Region] {
    var counter = RegionCounter()
    younger.forEachGroup { pfn, pages in counter.count(pfn) { $0.pages += pages.nonzeroBitCount } }
    try younger.forEachChange(since: older) { pfn, change in
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

  private func disks(_ older: EpochManifest, _ younger: EpochManifest) -> [EpochDifference.Disk] {
    Set((older.disks + younger.disks).map(\.vdev)).sorted().map { vdev in
      let before = older.disks.first { $0.vdev == vdev }
      let after = younger.disks.first { $0.vdev == vdev }
      var disk = EpochDifference.Disk(vdev: vdev, sizeBytes: (after ?? before)?.sizeBytes ?? 0)
      guard let before, let after else {
        disk.problem = "only epoch \(before == nil ? younger.epoch : older.epoch) has it"
        return disk
      }
      guard let old = before.thinID, let new = after.thinID else {
        disk.problem = "read-only, it has no snapshots"
        return disk
      }
      guard before.pool == after.pool else {
        disk.problem = "it moved from pool \(before.pool) to \(after.pool)"
        return disk
      }
      do {
        let (delta, blockBytes) = try pools().delta(after.pool, from: old, to: new)
        (disk.delta, disk.blockBytes) = (delta, blockBytes)
      } catch { disk.problem = "\(error)" }
      return disk
    }
  }
}
