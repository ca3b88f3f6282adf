internal import CDeviceMapper
import Glibc

extension DeviceMapper {
  /// Points a device that a guest writes to at another table: same name, same major:minor, same open handles. Requests wait from
  /// suspend to resume and find the new table; none fails. All else is done before: the table is loaded, the calls are built, the
  /// old device is flushed once.
  ///
  /// What the guest has written so far must be durable before the new table answers a flush, because a flush no longer
  /// reaches the old devices then. So they are flushed once more while requests wait.
  ///
  /// - Parameters:
  ///   - table: of the device's size.
  ///   - old: name of a device over all that the live table maps.
  /// - Returns: nanoseconds for which requests waited.
  /// - Throws: `DeviceMapperError`; the device runs on its old table then, unless the error says otherwise.
  public func swapLive(_ device: String, to table: [Target], flushing old: String) throws -> UInt64 {
    let calls = try SwapCalls(device)
    let flushed = open("/dev/mapper/\(old)", O_RDONLY | O_CLOEXEC)
    guard flushed >= 0 else { throw Self.failure(.open, old, errno, .unchanged) }
    defer { close(flushed) }
    try load(device, table: table)
    guard fsync(flushed) == 0 else {
      let code = errno
      try? clear(device)
      throw Self.failure(.flush, old, code, .unchanged)
    }

    let start = monotonicNanoseconds()
    var failed = calls.run(calls.suspend)
    var operation = DeviceMapperError.Operation.suspend
    if failed == 0, fsync(flushed) != 0 { (failed, operation) = (errno, .flush) }
    // Without the loaded table a resume goes on with the old one.
    if failed != 0 { _ = calls.run(calls.clear) }
    var refused = calls.run(calls.resume)
    if refused != 0, failed == 0 {
      (failed, operation) = (refused, .resume)
      _ = calls.run(calls.clear)
      refused = calls.run(calls.resume)
    }
    let held = monotonicNanoseconds() - start

    guard refused == 0 else { throw Self.failure(.resume, device, refused, .suspended) }
    guard failed == 0 else { throw Self.failure(operation, device, failed, .running) }
    // Who starts as we do it resumes what stands suspended, on its old table.
    guard try shows(device, table) else { throw DeviceMapperError.takenAway(table: table, from: device) }
    return held
  }

  private static func failure(
    _ operation: DeviceMapperError.Operation, _ device: String, _ code: Int32,
    _ left: DeviceMapperError.LeftState
  ) -> DeviceMapperError {
    .failed(operation, device: device, errno: code, detail: "", left: left)
  }
}

/// Ready-made ioctls on a control descriptor of their own: no allocation and no lock while a device is suspended.
private final class SwapCalls {
  let control: Int32
  let suspend: OpaquePointer
  let clear: OpaquePointer
  let resume: OpaquePointer

  init(_ device: String) throws {
    control = try BlockDevice.openControl()
    // Names of our own and LVM's are shorter than device-mapper's limit; a device that exists has such a name.
    guard let suspend = ckpt_dm_call_suspend(device), let clear = ckpt_dm_call_clear(device),
      let resume = ckpt_dm_call_resume(device)
    else {
      close(control)
      throw DeviceMapperError.badName(device, why: "longer than device-mapper allows")
    }
    (self.suspend, self.clear, self.resume) = (suspend, clear, resume)
  }

  deinit {
    for call in [suspend, clear, resume] { ckpt_dm_call_free(call) }
    close(control)
  }

  func run(_ call: OpaquePointer) -> Int32 {
    var code = ckpt_dm_call_run(control, call)
    // A signal may break off the wait of a suspend; asking again is harmless.
    while code == EINTR { code = ckpt_dm_call_run(control, call) }
    return code
  }
}
