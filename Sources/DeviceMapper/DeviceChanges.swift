internal import CDeviceMapper
import Glibc

// Making, changing and removing devices. Every call returns with the nodes in /dev/mapper made or removed.
extension DeviceMapper {
  /// Makes a running device. Takes itself back when the table is refused.
  public func create(_ device: String, uuid: String, table: [Target], readOnly: Bool = false) throws {
    try exclusively {
      let task = try DeviceTask(.create, DM_DEVICE_CREATE, device: device)
      try task.check(dm_task_set_uuid(task.handle, uuid))
      try task.run()
    }
    do {
      try load(device, table: table, readOnly: readOnly)
      try resume(device)
    } catch let error as DeviceMapperError {
      do { try remove(device) } catch { throw (error as? DeviceMapperError)?.leaving(.unknown) ?? error }
      throw error.leaving(.removed)
    }
  }

  /// Puts a table beside the live one; `resume` makes it live. A thin id in it must exist by now, and counts as open.
  public func load(_ device: String, table: [Target], readOnly: Bool = false) throws {
    try exclusively {
      let task = try DeviceTask(.load, DM_DEVICE_RELOAD, device: device)
      try task.add(table)
      if readOnly { try task.check(dm_task_set_ro(task.handle)) }
      try task.run()
    }
  }

  /// Drops a loaded table that was not made live.
  public func clear(_ device: String) throws {
    try exclusively { try DeviceTask(.clear, DM_DEVICE_CLEAR, device: device).run() }
  }

  /// Holds back new requests and waits for those already at the disk.
  ///
  /// - Parameters:
  ///   - noFlush: lets the target give queued requests back instead of finishing them. A pool that is full and queueing
  ///     would otherwise block here for up to its no_space_timeout.
  ///   - skipLockFS: does not freeze a file system that dom0 itself mounted from the device.
  public func suspend(_ device: String, noFlush: Bool = true, skipLockFS: Bool = true) throws {
    try exclusively {
      let task = try DeviceTask(.suspend, DM_DEVICE_SUSPEND, device: device)
      if noFlush { try task.check(dm_task_no_flush(task.handle)) }
      if skipLockFS { try task.check(dm_task_skip_lockfs(task.handle)) }
      try task.run()
    }
  }

  /// Makes a loaded table live, if there is one, and lets held requests go. Harmless on a running device.
  public func resume(_ device: String) throws {
    do {
      try exclusively {
        let task = try DeviceTask(.resume, DM_DEVICE_RESUME, device: device)
        // What LVM made stays as its rules have it.
        if device.hasPrefix(DeviceName.namePrefix) { try task.keepPrivate() }
        try task.run()
        // The library only notes the nodes to make; with a cookie they would be made while waiting for it.
        dm_task_update_nodes()
      }
    } catch let error as DeviceMapperError {
      throw error.leaving(.unknown)
    }
  }

  /// Tries for five seconds while the device is busy (udev or blkid may hold it for an instant).
  ///
  /// - Throws: `DeviceMapperError.failed` with EBUSY while somebody still has it open.
  public func remove(_ device: String) throws {
    try exclusively {
      let task = try DeviceTask(.remove, DM_DEVICE_REMOVE, device: device)
      try task.check(dm_task_retry_remove(task.handle))
      try task.run()
      dm_task_update_nodes()
    }
  }

  /// Sends a message to the target at sector 0.
  public func message(_ device: String, _ text: String) throws {
    try exclusively {
      let task = try DeviceTask(.message, DM_DEVICE_TARGET_MSG, device: device)
      try task.check(dm_task_set_sector(task.handle, 0))
      try task.check(dm_task_set_message(task.handle, text))
      do { try task.run() } catch DeviceMapperError.failed(
        let operation, let device, let code, let detail, let left)
      {
        throw DeviceMapperError.failed(
          operation, device: device, errno: code, detail: "\(text)\(detail.isEmpty ? "" : ": ")\(detail)",
          left: left)
      }
    }
  }
}
