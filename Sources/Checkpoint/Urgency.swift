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

  private let thread = pthread_self()
  private var policy: Int32 = SCHED_OTHER
  private var before = sched_param()

  init(_ rank: Rank) {
    pthread_getschedparam(thread, &policy, &before)
    var wanted = sched_param()
    wanted.sched_priority = rank.rawValue
    pthread_setschedparam(thread, SCHED_FIFO, &wanted)
  }

  /// The thread is as before; called on it.
  func end() {
    var before = before
    pthread_setschedparam(thread, policy, &before)
  }
}
