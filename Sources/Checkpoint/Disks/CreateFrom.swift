extension Disks {
  /// Makes a disk for a guest with the content of another one, which is only read. The guest must be shut down.
  ///
  /// - Parameters:
  ///   - vdev: name inside the guest.
  ///   - path: a block device, a guest's disk in another pool too, or a raw file. Its size is rounded up to the pool's block (64 KiB).
  ///   - pool: nil for the only pool there is.
  ///   - cancellation: heard all the time.
  ///   - progress: told the bytes copied, then those compared.
  /// - Returns: the path that the guest's configuration is to name.
  /// - Throws: ``DiskSourceError``, `DiskError`, `PoolError`; no disk is left then.
  public func create(
    guest: String, vdev: String, from path: String, pool: String? = nil,
    cancellation: TakeCancellation = TakeCancellation(),
    progress: (_ what: String, _ bytes: UInt64) -> Void = { _, _ in }
  ) throws -> String {
    try create(
      guest: guest, vdev: vdev, from: DiskSource(path), pool: pool, access: .kernel, cancellation: cancellation,
      progress: progress)
  }

  func create(
    guest: String, vdev: String, from source: DiskSource, pool: String? = nil, access: DiskAccess,
    cancellation: TakeCancellation = TakeCancellation(),
    progress: (_ what: String, _ bytes: UInt64) -> Void = { _, _ in }
  ) throws -> String {
    let copy = DiskCopy(pools, access, source, cancellation)
    do {
      try copy.prepare(guest: guest, vdev: vdev, pool: pool)
      try copy.fill { progress("copied", $0) }
      try copy.compare { progress("compared", $0) }
      return try copy.publish()
    } catch {
      copy.abandon()
      // Whatever it cut short.
      if cancellation.isCancelled { throw DiskSourceError.interrupted(path: source.path) }
      throw error
    }
  }
}
