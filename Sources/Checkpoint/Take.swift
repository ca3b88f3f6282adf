import Dispatch
public import EpochStore
import Glibc
import MigrationStream
import Synchronization
import Xen

/// One take: from a running guest to a published epoch, with the guest held as shortly as possible.
///
/// The guest runs again whatever happens: from the moment it is suspended until it is resumed nothing can leave
/// ``pause()`` without the resume.
public final class Take {
  private let guest: any Guest
  private let disks: any DiskSet
  private let folder: GuestFolder
  private let threads: Int
  private let report: (Phase) -> Void
  private let times = PhaseTimes()

  private var lock: FolderLock?
  private var instant = EpochTime.now
  private var pauseMs = 0.0
  private var stopMs = 0.0

  /// - Parameters:
  ///   - threads: how many copy and compress at the same time.
  ///   - report: told of every phase as it begins, outside the pause.
  public init(
    _ guest: any Guest, disks: any DiskSet, into folder: GuestFolder, threads: Int = Take.processors,
    report: @escaping (Phase) -> Void = { _ in }
  ) {
    self.guest = guest
    self.disks = disks
    self.folder = folder
    self.threads = threads
    self.report = report
  }

  /// Processors of this host, at most eight: more copiers only wait for the memory.
  public static var processors: Int { max(1, min(8, sysconf(Int32(_SC_NPROCESSORS_ONLN)))) }

  /// Takes the epoch.
  ///
  /// - Parameter probed: how long it took to find out that the guest can be taken.
  /// - Throws: whatever stopped it. The guest runs and nothing of the epoch is left, unless the error is
  ///   `XenError.resumeFailed`.
  public func run(probed: Duration = .zero) throws -> EpochManifest {
    times.record(.probe, probed)
    let writer = try measure(.reserve, reserve)
    do {
      let staging = try measure(.arm, arm)
      var held = try pause(staging)
      guest.disarm()
      // Frees the pools for other guests; the snapshots are garbage until a manifest names them.
      try disks.commit()
      try measure(.write) { try write(&held, to: writer) }
      try measure(.publish, writer.seal)
      return try publish(writer)
    } catch {
      guest.disarm()
      writer.abandon()
      // What cannot be taken back now, the next user of the pool settles; the first error is the one to report.
      try? disks.abandon()
      throw error
    }
  }

  private func measure<Result>(_ phase: Phase, _ body: () throws -> Result) throws -> Result {
    report(phase)
    return try times.measure(phase, body)
  }

  /// Everything that may be refused, before the guest notices: lock, number, room in store, pool and memory.
  private func reserve() throws -> EpochWriter {
    lock = try folder.lock(.exclusive)
    try folder.discardUnpublished()
    let epoch = try folder.nextEpochNumber()
    let pages = Int(guest.identity.memoryBytes) / EpochFormat.pageSize
    let writer = try folder.create(
      epoch: epoch,
      reserving: EpochFormat.worstCaseBytes(pages: pages, records: 64, recordBytes: Take.recordBytes))
    do {
      try disks.forgetUnpublished(published: Set(folder.epochs().allNumbers))
      try disks.reserve(epoch: epoch)
    } catch {
      writer.abandon()
      throw error
    }
    return writer
  }

  /// Room for everything but pages: CPU state, configuration.
  private static let recordBytes = 4 << 20

  private func arm() throws -> Staging {
    try guest.arm()
    let staging = try Staging(pages: guest.pageCount, most: Int(guest.identity.memoryBytes) / EpochFormat.pageSize)
    guest.writePFNs(to: staging.pfns)
    // The worker threads are made now; the pause finds them waiting.
    DispatchQueue.concurrentPerform(iterations: threads + 1) { _ in usleep(1000) }
    return staging
  }

  /// What the pause brought: copies only, nothing of the guest's own.
  private struct Held {
    var memory: StagedMemory
    let records: [Record]
  }

  private func pause(_ staging: Staging) throws -> Held {
    let signals = HeldSignals()
    defer { signals.release() }
    let requested = ContinuousClock.now
    try times.measure(.request, guest.request)
    try times.measure(.freeze, guest.awaitSuspended)
    let suspended = ContinuousClock.now
    instant = .now
    let held = Result { try hold(staging) }
    // Whatever happened to the copy: first the guest.
    try times.measure(.resume, guest.resume)
    let resumed = ContinuousClock.now
    pauseMs = (resumed - requested).milliseconds
    stopMs = (resumed - suspended).milliseconds
    return try held.get()
  }

  /// What is done while the guest stands still: pages and CPUs here, disks beside it.
  private func hold(_ staging: Staging) throws -> Held {
    let disks = disks
    let snapshot = Background {
      let start = ContinuousClock.now
      return (steps: try disks.snapshot(), took: ContinuousClock.now - start)
    }
    let copied = Result { try times.measure(.copy) { try copy(to: staging) } }
    let snapshotted = try snapshot.wait()
    times.record(.disks, snapshotted.took)
    for (step, milliseconds) in snapshotted.steps { times.record("disks_\(step)", milliseconds: milliseconds) }
    return try copied.get()
  }

  private func copy(to staging: Staging) throws -> Held {
    if try guest.revalidate() {
      guard guest.pageCount <= staging.capacity else {
        throw CheckpointError.grew(
          guest: guest.identity.name, pages: guest.pageCount, capacity: staging.capacity)
      }
      guest.writePFNs(to: staging.pfns)
    }
    try copyChunks(to: staging)
    let memory = StagedMemory(staging, count: guest.pageCount)
    return Held(memory: memory, records: try guest.records(in: memory))
  }

  /// Workers pull chunks from one counter until none is left or one of them failed.
  private func copyChunks(to staging: Staging) throws {
    let next = Atomic(0)
    let failure = Mutex<(any Error)?>(nil)
    nonisolated(unsafe) let guest = guest
    nonisolated(unsafe) let staging = staging
    let count = guest.chunkCount
    DispatchQueue.concurrentPerform(iterations: threads) { _ in
      while true {
        let chunk = next.wrappingAdd(1, ordering: .relaxed).oldValue
        guard chunk < count, failure.withLock({ $0 == nil }) else { return }
        do { try guest.copy(chunk: chunk, to: staging.pages, types: staging.types) } catch {
          failure.withLock { $0 = $0 ?? error }
        }
      }
    }
    if let error = failure.withLock({ $0 }) { throw error }
  }

  /// Compresses and writes what the pause left in RAM; the guest works meanwhile.
  private func write(_ held: inout Held, to writer: EpochWriter) throws {
    held.memory.dropEmpty(PageType.carriesData)
    try writer.append(held.memory.stored, threads: threads)
    try writer.append(record: GuestRecords.configuration, guest.configuration)
    for record in held.records { try writer.append(record: record.type.rawValue, record.body) }
  }

  /// The manifest makes the epoch exist.
  private func publish(_ writer: EpochWriter) throws -> EpochManifest {
    let identity = guest.identity
    return try writer.publish(
      EpochManifest(
        guest: identity.name, uuid: identity.uuid, epoch: writer.epoch, time: instant, kind: identity.kind,
        vcpus: identity.vcpus, memoryBytes: identity.memoryBytes, pauseMs: pauseMs, stopMs: stopMs, disks: disks.disks,
        phases: times.milliseconds, suspendPath: guest.suspendPath, xenVersion: identity.xenVersion))
  }
}

/// Signals that would end the process wait while the guest stands still.
struct HeldSignals {
  private var before = sigset_t()

  init() {
    var held = sigset_t()
    sigemptyset(&held)
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] { sigaddset(&held, signal) }
    pthread_sigmask(SIG_BLOCK, &held, &before)
  }

  func release() {
    var before = before
    pthread_sigmask(SIG_SETMASK, &before, nil)
  }
}

/// Work on another thread, whose result is waited for.
private final class Background<Value: Sendable>: Sendable {
  private let result = Mutex<Result<Value, any Error>?>(nil)
  private let done = DispatchSemaphore(value: 0)

  init(_ body: @escaping @Sendable () throws -> Value) {
    DispatchQueue.global(qos: .userInitiated).async { [self] in
      let value = Result { try body() }
      result.withLock { $0 = value }
      done.signal()
    }
  }

  func wait() throws -> Value {
    done.wait()
    return try result.withLock { try $0!.get() }
  }
}
