public import Checkpoint
public import EpochStore
import Synchronization

/// What the takes of this process came to, by guest. Any thread.
public final class TakeMetrics: Sendable {
  private struct Guest {
    var pause = Histogram()
    var stop = Histogram()
    /// By result: `taken`, or the kind of a failure.
    var takes: [String: Int] = [:]
    /// By phase.
    var failures: [String: Int] = [:]
    var storedBytes = 0.0
    var transferredBytes = 0.0
    var isAsked = false
  }

  private let guests = Mutex<[String: Guest]>([:])

  public init() {}

  /// What a take of the guest tells while it works; every one.
  public func observe(_ event: TakeEvent, of guest: String) {
    guests.withLock { guests in
      switch event {
      case .phase(let phase): guests[guest, default: Guest()].isAsked = phase == .request
      case .failed(let failure):
        guests[guest, default: Guest()].isAsked = false
        guests[guest, default: Guest()].takes[failure.kind.rawValue, default: 0] += 1
        if failure.kind == .failed { guests[guest, default: Guest()].failures[failure.phase.rawValue, default: 0] += 1 }
      default: break
      }
    }
  }

  /// A take made an epoch.
  public func observe(_ manifest: EpochManifest) {
    guests.withLock { guests in
      var guest = guests[manifest.guest] ?? Guest()
      guest.isAsked = false
      guest.takes["taken", default: 0] += 1
      guest.pause.observe(manifest.pauseMs / 1000)
      guest.stop.observe(manifest.stopMs / 1000)
      guest.storedBytes += Double(manifest.bytes)
      guest.transferredBytes += Double(manifest.statistics?.transferredBytes ?? 0)
      guests[manifest.guest] = guest
    }
  }

  /// All series, by guest.
  public func families() -> [MetricFamily] {
    var pause = MetricFamily(
      "ckpt_take_pause_seconds", .histogram, "From the request to suspend until the guest ran again.")
    var stop = MetricFamily("ckpt_take_stop_seconds", .histogram, "How long the hypervisor held the guest suspended.")
    var takes = MetricFamily(
      "ckpt_takes_total", .counter, "Takes by result: taken, failed, skipped, busy, interrupted.")
    var failures = MetricFamily("ckpt_take_failures_total", .counter, "Failed takes by the phase that failed.")
    var stored = MetricFamily("ckpt_take_stored_bytes_total", .counter, "Bytes of the epoch files that takes wrote.")
    var copied = MetricFamily("ckpt_take_copied_bytes_total", .counter, "Bytes that takes copied out of the guest.")
    var asked = MetricFamily("ckpt_take_in_pause", .gauge, "1 while a take of the guest is in its pause.")
    for (name, guest) in guests.withLock({ $0 }).sorted(by: { $0.key < $1.key }) {
      let label = (name: "guest", value: name)
      if guest.pause.count > 0 {
        pause.add(guest.pause, label)
        stop.add(guest.stop, label)
      }
      for result in ["taken"] + TakeFailure.Kind.allCases.map(\.rawValue) {
        takes.add(Double(guest.takes[result] ?? 0), label, ("result", result))
      }
      for (phase, count) in guest.failures.sorted(by: { $0.key < $1.key }) {
        failures.add(Double(count), label, ("phase", phase))
      }
      stored.add(guest.storedBytes, label)
      copied.add(guest.transferredBytes, label)
      asked.add(guest.isAsked ? 1 : 0, label)
    }
    return [pause, stop, takes, failures, stored, copied, asked]
  }
}
