internal import CDeviceMapper
internal import CLinux
import Dispatch
import Glibc

/// Tells when something happened to pools: their data ran low, they filled up, changed their mode, or got new tables. The kernel counts
/// events per device (its `event_nr`); which it was, the pool's status says. It tells of low data once per table only, so whoever
/// must not miss anything looks at the status from time to time as well.
///
/// A thread of its own waits in poll(2) on a control descriptor of its own (DM_DEV_ARM_POLL, Linux 4.13). libdevmapper's
/// wait would hold the lock under which all its calls run, and only a signal could end it.
public final class PoolWatch: Sendable {
  /// What tells of events; the kernel, or a script in unit tests.
  struct Source: Sendable {
    /// Forgets events up to now: `wait` returns for younger ones.
    var arm: @Sendable () throws -> Void
    /// False when the watch is over.
    var wait: @Sendable () -> Bool
    /// The device's count of events; nil when it is not there.
    var count: @Sendable (_ device: String) -> UInt32?
  }

  private let stopping: StopSignal

  /// - Parameters:
  ///   - pools: device-mapper names.
  ///   - changed: told the name of a pool with a new event, or that came or went; called on the watch's thread. Events that come
  ///     together are told once.
  /// - Throws: `DeviceMapperError` when the kernel cannot be asked.
  public init(_ mapper: DeviceMapper, pools: [String], changed: @escaping @Sendable (String) -> Void) throws {
    let control = ControlNode(try BlockDevice.openControl())
    stopping = try StopSignal()
    let source = Source(
      arm: { try control.arm() }, wait: { [stopping] in control.wait(unless: stopping) },
      count: { (try? mapper.eventCount($0)) ?? nil })
    // Armed before it returns: nothing that happens from now on is missed.
    let known = try PoolWatch.begin(source, pools)
    DispatchQueue(label: "pool watch").async { PoolWatch.run(source, pools, known, changed) }
  }

  deinit { stop() }

  /// Ends the watch; a call of `changed` may still be under way.
  public func stop() { stopping.set() }

  static func begin(_ source: Source, _ pools: [String]) throws -> [String: UInt32] {
    try source.arm()
    return counts(source, pools)
  }

  static func run(
    _ source: Source, _ pools: [String], _ known: [String: UInt32], _ changed: (String) -> Void
  ) {
    var known = known
    while source.wait() {
      // Armed first, read then: an event in between is found now, or wakes us again.
      guard (try? source.arm()) != nil else { return }
      let now = counts(source, pools)
      for pool in pools where now[pool] != known[pool] { changed(pool) }
      known = now
    }
  }

  private static func counts(_ source: Source, _ pools: [String]) -> [String: UInt32] {
    Dictionary(uniqueKeysWithValues: pools.compactMap { pool in source.count(pool).map { (pool, $0) } })
  }
}

/// A descriptor of /dev/mapper/control.
private final class ControlNode: Sendable {
  private let descriptor: Int32

  init(_ descriptor: Int32) { self.descriptor = descriptor }
  deinit { close(descriptor) }

  func arm() throws {
    let code = ckpt_dm_arm_poll(descriptor)
    guard code == 0 else {
      throw DeviceMapperError.failed(
        .open, device: "/dev/mapper/control", errno: code, detail: "arm poll", left: .unchanged)
    }
  }

  func wait(unless stopping: StopSignal) -> Bool {
    while true {
      var waiting = [
        pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0),
        pollfd(fd: stopping.descriptor, events: Int16(POLLIN), revents: 0),
      ]
      guard poll(&waiting, 2, -1) >= 0 || errno == EINTR else { return false }
      if waiting[1].revents != 0 { return false }
      if waiting[0].revents != 0 { return true }
    }
  }
}

/// Wakes a thread that waits in poll(2), for good.
private final class StopSignal: Sendable {
  let descriptor: Int32

  init() throws {
    descriptor = ckpt_eventfd()
    guard descriptor >= 0 else {
      throw DeviceMapperError.failed(.open, device: "", errno: errno, detail: "eventfd", left: .unchanged)
    }
  }
  deinit { close(descriptor) }

  func set() {
    var one: UInt64 = 1
    _ = write(descriptor, &one, 8)
  }
}

extension BlockDevice {
  static func openControl() throws -> Int32 {
    let descriptor = open("/dev/mapper/control", O_RDWR | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw DeviceMapperError.unavailable(why: "/dev/mapper/control: \(errnoText(errno))")
    }
    return descriptor
  }
}

extension DeviceMapper {
  /// How many events the device has had; nil when there is no such device.
  func eventCount(_ device: String) throws -> UInt32? {
    try exclusively {
      let task = try DeviceTask(.info, DM_DEVICE_INFO, device: device)
      try task.run()
      var info = dm_info()
      try task.check(dm_task_get_info(task.handle, &info))
      return info.exists == 0 ? nil : info.event_nr
    }
  }
}
