import CLinux
import Glibc
import Synchronization

/// Who lets a held guest go: one word in memory that the engine and its guard share, so that never both do.
///
/// ```
///             ask            begin to let go            it runs
///   calm ───────────► asked ─────────────────► letting go ────► over      the engine
///                       │                           │
///                       └──────────► taken ◄────────┘                     the guard, when the engine is late
/// ```
final class PauseClaim: @unchecked Sendable {
  // Unchecked: the memory is only touched by atomic operations.

  enum State: UInt32 {
    /// The guest is not asked for anything.
    case calm
    /// It was asked to suspend, or stands suspended; the engine works on it.
    case asked
    /// The engine is about to resume it.
    case lettingGo
    /// The guard resumes it, or has.
    case taken
    /// The engine has resumed it: nothing is open any more.
    case over
  }

  /// What is shared, at the beginning of one page.
  private struct Shared: ~Copyable {
    let state: Atomic<UInt32>
    /// From when on the guard may take a guest that is held, in nanoseconds of CLOCK_MONOTONIC, which is one for all processes.
    let deadline: Atomic<UInt64>
  }

  let descriptor: Int32
  private let memory: UnsafeMutableRawPointer
  private var shared: UnsafeMutablePointer<Shared> { memory.assumingMemoryBound(to: Shared.self) }
  private static let size = 4096

  /// The engine's end: new memory. Its descriptor is not passed on to children by itself.
  ///
  /// - Throws: ``GuardError/cannotStart(_:)``.
  init() throws(GuardError) {
    // 1: MFD_CLOEXEC (linux/memfd.h).
    let descriptor = memfd_create("ckpt-pause", 1)
    guard descriptor >= 0 else { throw PauseClaim.noMemory(errno) }
    do throws(GuardError) {
      guard ftruncate(descriptor, off_t(PauseClaim.size)) == 0 else { throw PauseClaim.noMemory(errno) }
      memory = try PauseClaim.map(descriptor)
    } catch {
      close(descriptor)
      throw error
    }
    self.descriptor = descriptor
  }

  private static func noMemory(_ code: Int32) -> GuardError {
    .cannotStart("shared memory: \(String(cString: strerror(code)))")
  }

  /// The guard's end.
  ///
  /// - Throws: ``GuardError/cannotStart(_:)``.
  init(inherited descriptor: Int32) throws(GuardError) {
    self.descriptor = descriptor
    memory = try PauseClaim.map(descriptor)
  }

  private static func map(_ descriptor: Int32) throws(GuardError) -> UnsafeMutableRawPointer {
    let memory = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)
    guard let memory, memory != MAP_FAILED else { throw noMemory(errno) }
    return memory
  }

  deinit {
    munmap(memory, PauseClaim.size)
    close(descriptor)
  }

  /// Memory from the kernel is zero, which is `calm`; anything that is no state of ours counts as the guard's.
  var state: State { State(rawValue: shared.pointee.state.load(ordering: .sequentiallyConsistent)) ?? .taken }

  /// Nanoseconds of CLOCK_MONOTONIC.
  var deadline: UInt64 { shared.pointee.deadline.load(ordering: .sequentiallyConsistent) }

  static var now: UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }

  func ask(deadline: UInt64) {
    shared.pointee.deadline.store(deadline, ordering: .sequentiallyConsistent)
    shared.pointee.state.store(State.asked.rawValue, ordering: .sequentiallyConsistent)
  }

  /// Moves the deadline of a guest that is held, never to an earlier one. False when the guard was first.
  func prolong(deadline: UInt64) -> Bool {
    shared.pointee.deadline.store(max(deadline, self.deadline), ordering: .sequentiallyConsistent)
    return state == .asked
  }

  /// Goes on to `next` if the state still is `before`; false when the other side was first.
  func change(_ before: State, to next: State) -> Bool {
    shared.pointee.state.compareExchange(
      expected: before.rawValue, desired: next.rawValue, ordering: .sequentiallyConsistent
    ).exchanged
  }
}
