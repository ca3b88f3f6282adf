internal import CDeviceMapper
import Glibc

/// One libdevmapper task: built, run once, destroyed. Used only inside `DeviceMapper.exclusively`.
struct DeviceTask: ~Copyable {
  let handle: OpaquePointer
  let operation: DeviceMapperError.Operation
  let device: String

  init(_ operation: DeviceMapperError.Operation, _ type: Int, device: String) throws {
    self.operation = operation
    self.device = device
    _ = ckpt_dm_log_take()
    guard let handle = dm_task_create(Int32(type)) else { throw Self.failure(operation, device, errno) }
    guard device.isEmpty || dm_task_set_name(handle, device) != 0 else {
      dm_task_destroy(handle)
      throw Self.failure(operation, device, EINVAL)
    }
    self.handle = handle
  }

  deinit { dm_task_destroy(handle) }

  /// Setters fail only for lack of memory or a text that is too long.
  func check(_ result: Int32) throws {
    guard result != 0 else { throw Self.failure(operation, device, errno == 0 ? EINVAL : errno) }
  }

  func add(_ targets: [Target]) throws {
    for target in targets {
      try check(dm_task_add_target(handle, target.start, target.sectors, target.type, target.parameters))
    }
  }

  /// For the task that makes a table live: udev's rules shall neither read the device nor tell LVM or anybody of it. udevd keeps that, and
  /// goes by it at every later event of the device that does not say otherwise, such as the resume in the pause.
  func keepPrivate() throws {
    // libdevmapper.h, "Udev flags". Without synchronisation there is no cookie to wait for, only the flags.
    let flags =
      DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG | DM_UDEV_DISABLE_DISK_RULES_FLAG | DM_UDEV_DISABLE_OTHER_RULES_FLAG
    var cookie: UInt32 = 0
    try check(dm_task_set_cookie(handle, &cookie, UInt16(flags)))
  }

  func run() throws {
    guard dm_task_run(handle) != 0 else {
      let code = dm_task_get_errno(handle)
      throw Self.failure(operation, device, code == 0 ? EIO : code)
    }
  }

  /// The table or status lines of the answer.
  var targets: [Target] {
    var result: [Target] = []
    var next: UnsafeMutableRawPointer? = nil
    repeat {
      var start: UInt64 = 0
      var length: UInt64 = 0
      var type: UnsafeMutablePointer<CChar>? = nil
      var parameters: UnsafeMutablePointer<CChar>? = nil
      next = dm_get_next_target(handle, next, &start, &length, &type, &parameters)
      guard let type else { break }
      result.append(
        Target(
          start: start, sectors: length, type: String(cString: type),
          parameters: parameters.map { String(cString: $0) } ?? ""))
    } while next != nil
    return result
  }

  private static func failure(
    _ operation: DeviceMapperError.Operation, _ device: String, _ code: Int32
  ) -> DeviceMapperError {
    var detail = String(cString: ckpt_dm_log_take())
    // "device-mapper: reload ioctl on NAME failed: ERRNO" is what our own text says.
    if detail.hasPrefix("device-mapper: ") { detail = "" }
    return .failed(operation, device: device, errno: code, detail: detail, left: .unchanged)
  }
}
