import Glibc

/// The calling thread before all ordinary ones of this host (SCHED_FIFO, sched(7)) for the time of a pause: neither a busy dom0 nor
/// the take's own helpers shall keep the guest waiting. Where the kernel does not allow it, the thread stays what it was.
struct Urgency {
  /// Above those that help it, below the one that ends a pause which lasts too long.
  enum Rank: Int32 {
    case helper = 1
    case pause
    case limit
  }

  /// SCHED_RESET_ON_FORK (sched(7)): a hook that is started in the pause, and a thread that a library starts then and keeps, would
  /// otherwise come before all others of the host for as long as they live.
  private static let notInherited: Int32 = 0x4000_0000

  private let policy = sched_getscheduler(0)
  private var before = sched_param()

  init(_ rank: Rank) {
    sched_getparam(0, &before)
    var wanted = sched_param()
    wanted.sched_priority = rank.rawValue
    sched_setscheduler(0, SCHED_FIFO | Self.notInherited, &wanted)
  }

  /// The thread is as before; called on it.
  func end() {
    var before = before
    sched_setscheduler(0, policy, &before)
  }
}
