internal import CDeviceMapper
import Glibc

/// The disks' part of the pause: suspend all, snapshot all, resume all.
///
/// Everything is built by `init`, outside the pause. `begin` only issues ready-made ioctls on a control descriptor of its own:
/// no allocation, no lock of this process, no file, no udev. It may run on any thread, beside threads that copy pages and beside
/// other users of `DeviceMapper`.
///
/// The new snapshots exist in the pool when `begin` returns, and some of them may when it throws: `DeviceMapper.deleteThin`
/// takes them back, after the pause, because a delete can take long.
public final class EpochSnapshots: @unchecked Sendable {
  // Unchecked: the prepared calls are written by the kernel while `begin` runs. One thread at a time may call it.

  public struct Disk: Equatable, Sendable {
    /// Device-mapper name of the guest's live device, and of its pool.
    public var device: String
    public var pool: String
    public var live: ThinID
    public var epoch: ThinID

    public init(device: String, pool: String, live: ThinID, epoch: ThinID) {
      self.device = device
      self.pool = pool
      self.live = live
      self.epoch = epoch
    }
  }

  /// How long each step took for all disks together, in nanoseconds.
  public struct Times: Equatable, Sendable {
    public var suspend: UInt64 = 0
    public var createSnapshots: UInt64 = 0
    public var resume: UInt64 = 0

    public init() {}
  }

  private struct Step {
    var call: OpaquePointer
    var operation: DeviceMapperError.Operation
    var device: String
  }

  public let disks: [Disk]
  private let control: Int32
  private var suspends: [Step] = []
  private var messages: [Step] = []
  private var resumes: [Step] = []

  /// - Throws: `DeviceMapperError` when the control node cannot be opened or a name is too long.
  public init(_ disks: [Disk]) throws {
    self.disks = disks
    control = try BlockDevice.openControl()
    for disk in disks {
      suspends.append(try Self.step(.suspend, disk.device, ckpt_dm_call_suspend(disk.device)))
      messages.append(
        try Self.step(
          .message, disk.pool, ckpt_dm_call_message(disk.pool, "create_snap \(disk.epoch) \(disk.live)")))
      resumes.append(try Self.step(.resume, disk.device, ckpt_dm_call_resume(disk.device)))
    }
  }

  deinit {
    for step in suspends + messages + resumes { ckpt_dm_call_free(step.call) }
    if control >= 0 { close(control) }
  }

  private static func step(
    _ operation: DeviceMapperError.Operation, _ device: String, _ call: OpaquePointer?
  ) throws -> Step {
    guard let call else { throw DeviceMapperError.badName(device, why: "longer than device-mapper allows") }
    return Step(call: call, operation: operation, device: device)
  }

  /// Suspends every device, takes every snapshot, resumes every device. Every device is resumed on every path; one that
  /// cannot be is named in the error with `left: .suspended`, which outranks any earlier failure.
  public func begin() throws -> Times {
    var times = Times()
    var failure: (step: Step, code: Int32)?

    var clock = monotonicNanoseconds()
    for step in suspends where failure == nil { failure = run(step) }
    times.suspend = lap(&clock)
    for step in messages where failure == nil { failure = run(step) }
    times.createSnapshots = lap(&clock)

    // No way round this loop, not even for devices whose suspend was refused: resuming a running device does nothing.
    var stuck: (step: Step, code: Int32)?
    for step in resumes {
      guard let refused = run(step) else { continue }
      // A device that vanished has nobody to resume.
      if refused.code != ENXIO { stuck = refused }
    }
    times.resume = lap(&clock)

    if let stuck { throw error(stuck, left: .suspended) }
    if let failure { throw error(failure, left: .running) }
    return times
  }

  private func run(_ step: Step) -> (step: Step, code: Int32)? {
    var code = ckpt_dm_call_run(control, step.call)
    // A signal may break off the wait of a suspend; asking again is harmless.
    while code == EINTR { code = ckpt_dm_call_run(control, step.call) }
    return code == 0 ? nil : (step, code)
  }

  private func error(_ failed: (step: Step, code: Int32), left: DeviceMapperError.LeftState)
    -> DeviceMapperError
  {
    .failed(
      failed.step.operation, device: failed.step.device, errno: failed.code, detail: "in the pause",
      left: left)
  }
}

func monotonicNanoseconds() -> UInt64 {
  var now = timespec()
  clock_gettime(CLOCK_MONOTONIC, &now)
  return UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
}

private func lap(_ since: inout UInt64) -> UInt64 {
  let now = monotonicNanoseconds()
  defer { since = now }
  return now - since
}
