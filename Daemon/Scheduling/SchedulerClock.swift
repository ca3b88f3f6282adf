import CLinux
import Dispatch
import EpochStore
import Glibc

/// Where a ``SchedulerLoop`` has its time from.
public protocol SchedulerClock: Sendable {
  var now: Moment { get }
  /// Returns when the uptime is at least this, in milliseconds; throws when the task is cancelled.
  func sleep(until uptime: Int64) async throws
  /// Yields each time somebody sets the wall clock.
  func settings() -> AsyncStream<Void>
}

/// The host's clocks.
public struct SystemClock: SchedulerClock {
  public init() {}

  public var now: Moment { Moment(wall: .now, uptime: Self.uptime) }

  private static var uptime: Int64 {
    var time = timespec()
    clock_gettime(CLOCK_BOOTTIME, &time)
    return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
  }

  public func sleep(until uptime: Int64) async throws {
    // A sleep may end a little early, by the other clock's measure.
    while case let left = uptime - Self.uptime, left > 0 { try await Task.sleep(for: .milliseconds(left)) }
  }

  /// Without the kernel's notice (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET), the stream is silent: a clock that is set is then seen
  /// with the next run of any guest.
  public func settings() -> AsyncStream<Void> {
    let (stream, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    let timer = timerfd_create(CLOCK_REALTIME, ckpt_TFD_FLAGS)
    guard timer >= 0, Self.arm(timer) else {
      if timer >= 0 { close(timer) }
      return stream
    }
    // Dispatch's own objects may be used from any thread, though they do not say so.
    nonisolated(unsafe) let source = DispatchSource.makeReadSource(fileDescriptor: timer)
    source.setEventHandler {
      var count: UInt64 = 0
      // ECANCELED says that the clock was set.
      if read(timer, &count, MemoryLayout.size(ofValue: count)) < 0, errno == ECANCELED { continuation.yield() }
      _ = Self.arm(timer)
    }
    source.setCancelHandler { close(timer) }
    continuation.onTermination = { _ in source.cancel() }
    source.resume()
    return stream
  }

  /// A time that never comes: only a clock that is set ends the wait for it.
  private static func arm(_ timer: Int32) -> Bool {
    var time = itimerspec()
    time.it_value.tv_sec = time_t(Int32.max) * 64
    return timerfd_settime(timer, ckpt_TFD_UNTIL_SET, &time, nil) == 0
  }
}
