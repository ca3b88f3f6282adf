internal import CDeviceMapper
import Glibc
import Synchronization

/// The kernel's device-mapper, through libdevmapper. No policy.
///
/// libdevmapper keeps global state (the control descriptor, a list of nodes to make), so every call of this class runs
/// under one process-wide lock. The pause must not wait for that lock: it uses `EpochSnapshots`, which shares
/// nothing with this class and may run on its own thread.
///
/// udev: no call waits for udevd, so none hangs where it does not run; the library makes the nodes in /dev/mapper itself. A resume
/// tells udev's rules to leave a device of ours alone. Else they would read it, and what a guest keeps in its disk would
/// be shown in /dev/disk/by-uuid; a volume group in there would be offered to LVM in dom0 (69-lvm.rules).
public final class DeviceMapper: Sendable {
  private static let library = Mutex<Void>(())

  /// - Throws: `DeviceMapperError.unavailable` when the kernel has no device-mapper, even after modprobe.
  public init() throws {
    guard geteuid() == 0 else { throw DeviceMapperError.unavailable(why: "it needs root") }
    // libdevmapper makes a stale /dev/mapper/control when the driver is absent; ask the kernel first.
    if !Self.driverPresent() { KernelModule.load("dm_mod") }
    guard Self.driverPresent() else {
      throw DeviceMapperError.unavailable(why: "this kernel has no device-mapper; run: modprobe dm_mod")
    }
    Self.library.withLock { _ in
      ckpt_dm_log_capture()
      dm_udev_set_sync_support(0)
      dm_hold_control_dev(1)
    }
  }

  private static func driverPresent() -> Bool {
    (try? TextFile.read("/proc/misc"))?.split(separator: "\n").contains { $0.hasSuffix(" device-mapper") }
      ?? false
  }

  func exclusively<Result>(_ body: () throws -> sending Result) throws -> sending Result {
    try Self.library.withLock { _ in try body() }
  }

  // MARK: looking

  /// Every device-mapper device of this machine, ours and others'.
  public func list() throws -> [(name: String, number: DeviceNumber)] {
    try exclusively {
      let task = try DeviceTask(.list, DM_DEVICE_LIST, device: "")
      try task.run()
      var result: [(name: String, number: DeviceNumber)] = []
      guard var names = dm_task_get_names(task.handle), names.pointee.dev != 0 else { return result }
      while true {
        result.append((String(cString: ckpt_dm_names_name(names)), DeviceNumber(names.pointee.dev)))
        guard names.pointee.next != 0 else { return result }
        names = (UnsafeMutableRawPointer(names) + Int(names.pointee.next))
          .assumingMemoryBound(to: dm_names.self)
      }
    }
  }

  /// nil when no device has this name.
  public func info(_ device: String) throws -> DeviceInfo? {
    try exclusively {
      let task = try DeviceTask(.info, DM_DEVICE_INFO, device: device)
      try task.run()
      var info = dm_info()
      try task.check(dm_task_get_info(task.handle, &info))
      guard info.exists != 0 else { return nil }
      return DeviceInfo(
        name: device, uuid: dm_task_get_uuid(task.handle).map { String(cString: $0) } ?? "",
        number: DeviceNumber(major: info.major, minor: info.minor), suspended: info.suspended != 0,
        openCount: Int(info.open_count), hasLiveTable: info.live_table != 0,
        hasInactiveTable: info.inactive_table != 0, readOnly: info.read_only != 0)
    }
  }

  /// The live table.
  public func table(_ device: String) throws -> [Target] {
    try lines(.table, DM_DEVICE_TABLE, device)
  }

  /// The status lines. Never flushes: a full pool would block a flushing status as it blocks writes.
  public func status(_ device: String) throws -> [Target] {
    try lines(.status, DM_DEVICE_STATUS, device)
  }

  private func lines(_ operation: DeviceMapperError.Operation, _ type: Int, _ device: String) throws
    -> [Target]
  {
    try exclusively {
      let task = try DeviceTask(operation, type, device: device)
      try task.check(dm_task_no_flush(task.handle))
      try task.run()
      return task.targets
    }
  }

  /// The targets that the running kernel has loaded, with their versions.
  public func loadedTargets() throws -> [String: String] {
    try exclusively {
      let task = try DeviceTask(.targets, DM_DEVICE_LIST_VERSIONS, device: "")
      try task.run()
      var result: [String: String] = [:]
      guard var version = dm_task_get_versions(task.handle) else { return result }
      while true {
        let (major, minor, patch) = version.pointee.version
        result[String(cString: ckpt_dm_versions_name(version))] = "\(major).\(minor).\(patch)"
        guard version.pointee.next != 0 else { return result }
        version = (UnsafeMutableRawPointer(version) + Int(version.pointee.next))
          .assumingMemoryBound(to: dm_versions.self)
      }
    }
  }

  /// Makes sure that the kernel knows `target`, loading `module` when it does not.
  ///
  /// - Throws: `DeviceMapperError.targetMissing`.
  public func require(target: String, module: String) throws {
    if try loadedTargets()[target] != nil { return }
    KernelModule.load(module)
    guard try loadedTargets()[target] != nil else {
      throw DeviceMapperError.targetMissing(target: target, module: module)
    }
  }
}

/// What the kernel knows of one device.
public struct DeviceInfo: Equatable, Sendable {
  public var name: String
  /// "" when it was made without one.
  public var uuid: String
  public var number: DeviceNumber
  public var suspended: Bool
  public var openCount: Int
  public var hasLiveTable: Bool
  public var hasInactiveTable: Bool
  public var readOnly: Bool

  public init(
    name: String, uuid: String, number: DeviceNumber, suspended: Bool = false, openCount: Int = 0,
    hasLiveTable: Bool = true, hasInactiveTable: Bool = false, readOnly: Bool = false
  ) {
    self.name = name
    self.uuid = uuid
    self.number = number
    self.suspended = suspended
    self.openCount = openCount
    self.hasLiveTable = hasLiveTable
    self.hasInactiveTable = hasInactiveTable
    self.readOnly = readOnly
  }

  /// Made by us: its uuid begins with our prefix.
  public var isOurs: Bool { uuid.hasPrefix(DeviceName.uuidPrefix) }
}
