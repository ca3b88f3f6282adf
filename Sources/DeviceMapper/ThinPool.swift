import Glibc

// Thin pools. A message that returns has been committed to the pool's metadata (kernel: pool_message in dm-thin.c).
extension DeviceMapper {
  public func poolStatus(_ pool: String) throws -> PoolStatus {
    let lines = try status(pool)
    guard lines.count == 1, lines[0].type == "thin-pool", let status = PoolStatus(line: lines[0].parameters)
    else {
      throw DeviceMapperError.badStatus(device: pool, text: lines.map(\.description).joined(separator: " | "))
    }
    return status
  }

  /// - Throws: EEXIST when the pool has this id.
  public func createThin(pool: String, id: ThinID) throws { try message(pool, "create_thin \(id)") }

  /// The origin must be suspended, or not active, while this runs.
  ///
  /// - Throws: EEXIST when the pool has this id, ENODATA when it lacks the origin.
  public func createSnapshot(pool: String, id: ThinID, of origin: ThinID) throws {
    try message(pool, "create_snap \(id) \(origin)")
  }

  /// Deletes a volume or snapshot. Holds the pool's metadata lock while its tree is walked: tens of milliseconds for a
  /// small volume, seconds for a terabyte.
  ///
  /// - Returns: false when the pool had no such id.
  /// - Throws: EBUSY while a device (or a loaded table) uses it.
  @discardableResult
  public func deleteThin(pool: String, id: ThinID) throws -> Bool {
    do {
      try message(pool, "delete \(id)")
      return true
    } catch let error as DeviceMapperError where error.code == ENODATA {
      return false
    }
  }

  /// Compare and swap of the pool's transaction id.
  ///
  /// - Throws: EINVAL when the pool's is not `old`.
  public func setTransactionID(pool: String, from old: UInt64, to new: UInt64) throws {
    try message(pool, "set_transaction_id \(old) \(new)")
  }

  /// Keeps the metadata as it is now, for tools to read while the pool goes on. A pool has one at most, and it survives the process.
  ///
  /// - Throws: EBUSY when there is one.
  public func reserveMetadataSnapshot(pool: String) throws { try message(pool, "reserve_metadata_snap") }

  /// - Throws: EINVAL when there is none.
  public func releaseMetadataSnapshot(pool: String) throws { try message(pool, "release_metadata_snap") }

  /// Points a live device at another table without closing it: same name, same major:minor, same open handles
  /// (kernel: do_resume in dm-ioctl.c). The size must not change: blkback would tell the guest of a resized disk.
  /// Then drops what dom0 cached of the device.
  ///
  /// The device is running when this returns, and also when it throws unless the error says otherwise.
  public func swapTable(_ device: String, to table: [Target]) throws {
    try swapOnce(device, to: table)
    // Who starts as we do it resumes what stands suspended, on its old table.
    if try !shows(device, table) { try swapOnce(device, to: table) }
    guard try shows(device, table) else { throw DeviceMapperError.takenAway(table: table, from: device) }
    do { try BlockDevice.flushBuffers("/dev/mapper/\(device)") } catch let error as DeviceMapperError {
      throw error.leaving(.running)
    }
  }

  /// Whether a device runs on a table.
  func shows(_ device: String, _ table: [Target]) throws -> Bool {
    let found = try self.table(device)
    return found.count == table.count && zip(found, table).allSatisfy { $0.isWhatBecame(of: $1) }
  }

  private func swapOnce(_ device: String, to table: [Target]) throws {
    let old = try self.table(device)
    // Before requests wait: it takes memory, and a table that is refused changes nothing.
    try load(device, table: table)
    do {
      try suspend(device)
      try resume(device)
    } catch let error as DeviceMapperError {
      do { try goBack(device, to: old) } catch { throw (error as? DeviceMapperError)?.leaving(.suspended) ?? error }
      throw error.leaving(.running)
    }
  }

  /// Lets a device run whose new table was refused. The kernel may have kept the old one, or be left with the new one live and
  /// suspended, as a pool that cannot take in the size of its devices: that would be refused again and again.
  private func goBack(_ device: String, to old: [Target]) throws {
    try? clear(device)
    if try self.table(device) != old { try load(device, table: old) }
    try resume(device)
  }
}
