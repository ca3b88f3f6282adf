import Dispatch
public import EpochStore
import Glibc
import MigrationStream
import Synchronization
import Xen

/// One take: from a running guest to a published epoch, with the guest held as shortly as possible.
///
/// The guest runs again whatever happens: from the moment it is suspended until it is resumed nothing can leave
/// ``pause(_:)`` without the resume; but for one that is held on, as ``HeldGuest`` has it.
public final class Take {
  let guest: any Guest
  let options: TakeOptions
  let cancellation: TakeCancellation
  let report: (TakeEvent) -> Void
  let times = PhaseTimes()
  let tracking: Tracking
  let disks: any DiskSet
  let folder: GuestFolder
  let memory: TakeMemory
  let hooks: TakeHooks
  var afterHook: RunningHook?
  private let startKeeper: () throws -> (any PauseKeeper)?
  /// Lets the guest go when this process cannot.
  private(set) var keeper: (any PauseKeeper)?
  /// For the disks and for the CPUs, beside the copy of the pages.
  private(set) var helpers: [Standby] = []
  /// The guest is suspended, as far as we know.
  var isHeld = false
  /// It is not to run again.
  let holdsOn: Bool
  /// The limit of a pause that goes on.
  var prolonged: PauseLimit?
  /// The guest that stands still since its epoch was taken.
  private(set) var held: HeldGuest?
  private let began = ContinuousClock.now
  private var probed = Duration.zero

  var lock: FolderLock?
  /// The caller's, when it has one.
  let outerLock: FolderLock?
  /// The number of the epoch, as soon as it has one.
  var epoch: Int?
  var statistics = TakeStatistics()
  /// Pages that turned out all zero when they were written, by the round that copied them.
  var zeroPages: [String: Int] = [:]
  /// Milliseconds of live rounds at whose end the log told what the guest wrote in them.
  var watchedMs = 0.0
  /// Pages that the epoch does not hold yet as they are now.
  var owed = PageSet()
  /// Pages that turned up and that the scan had not seen.
  var unscanned: [UInt64] = []
  /// Frame numbers that had no page when they were to be copied.
  var absent = PageSet()
  /// Pages were out when the log was emptied: see ``collectOwed()``.
  var hasResized = false
  /// The guest's memory does not rest: only a comparison of all of it in the pause can tell what it holds.
  var isRestless = false
  var instant = EpochTime.now
  var pauseMs = 0.0
  var stopMs = 0.0
  var baseTime: EpochTime?

  /// - Parameters:
  ///   - memory: what an engine that stays keeps of the guest from take to take.
  ///   - lock: of the folder, exclusive, when the caller has it already.
  ///   - hooks: programs to run on the way.
  ///   - keeper: starts whoever lets the guest go when this process cannot; called once, before the guest is touched.
  ///   - holdsOn: the guest is not to run again, and so stands still when all is done: ``held``.
  ///   - report: told of every phase and round, outside the pause.
  public init(
    _ guest: any Guest, disks: any DiskSet, into folder: GuestFolder, options: TakeOptions = TakeOptions(),
    memory: TakeMemory = TakeMemory(), under lock: FolderLock? = nil, hooks: TakeHooks = TakeHooks(),
    keeper: @escaping () throws -> (any PauseKeeper)? = { nil }, holdsOn: Bool = false,
    cancellation: TakeCancellation = TakeCancellation(), report: @escaping (TakeEvent) -> Void = { _ in }
  ) {
    self.guest = guest
    self.disks = disks
    self.folder = folder
    self.options = options
    self.memory = memory
    outerLock = lock
    self.hooks = hooks
    startKeeper = keeper
    self.holdsOn = holdsOn
    self.cancellation = cancellation
    self.report = report
    tracking = Tracking(guest, folder, memory, options.tracking)
  }

  /// Takes the epoch.
  ///
  /// - Parameter probed: how long it took to find out that the guest can be taken.
  /// - Throws: whatever stopped it. The guest runs and nothing of the epoch is left, unless the error is
  ///   `XenError.resumeFailed`.
  public func run(probed: Duration = .zero) throws -> EpochManifest {
    self.probed = probed
    do { return try work() } catch {
      // An engine that stays would build the next take, too, on what turned out to be damaged.
      if case .damaged? = error as? StoreError { memory.base = nil }
      tellFailure(error)
      throw error
    }
  }

  private func work() throws -> EpochManifest {
    times.record(.probe, probed)
    let writer = try measure(.reserve, reserve)
    do {
      let staging = try measure(.arm) { try arm(writer) }
      statistics.setupMs = (ContinuousClock.now - began + probed).milliseconds
      let freeze = try measure(.precopy) {
        try precopy(writer, staging)
        try followMemory(writer, staging)
        try reserveDisks(writer, staging)
        noteRates()
        return try easeFreeze(staging)
      }
      let held = try pause(writer, staging)
      if !isHeld { disarm(calm: true) }
      try tracking.confirm(witness: held.state.canary, in: held.written)
      guard try guest.hasSameDisks() else { throw CheckpointError.disksChanged(guest: guest.identity.name) }
      // Frees the pools for other guests; the snapshots are garbage until a manifest names them.
      try disks.commit()
      try measure(.write) { try write(held, to: writer, staging) }
      try checkIsWhole(writer, held)
      try measure(.publish, writer.seal)
      finishAfterHook()
      let manifest = try publish(writer)
      // The epoch exists; a note that cannot be written only makes the next take compare.
      try? tracking.published(writer.nextBase, witness: held.state.canary)
      learnFreeze(freeze, written: held.written)
      holdOn(writer.epoch)
      return manifest
    } catch {
      let error = letGo(writer.epoch, after: error)
      disarm(calm: !isHeld && !guest.mayStillSuspend)
      writer.abandon()
      tracking.failed()
      // What cannot be taken back now, the next user of the pool settles; the first error is the one to report.
      try? disks.abandon()
      finishAfterHook()
      throw error
    }
  }

  /// The hook for failures is for takes that had begun: one that another take kept out must not end what that one's hooks began.
  private func tellFailure(_ error: any Error) {
    let hadBegun = lock != nil
    lock = nil
    if hadBegun, let failure = hooks.runFailed(epoch: epoch, phase: times.broken, error: error) { note("\(failure)") }
    report(.failed(TakeFailure(error, in: times.broken)))
  }

  /// All is done, and the guest stands still.
  private func holdOn(_ epoch: Int) {
    guard let limit = prolonged else { return }
    for helper in helpers { helper.dismiss() }
    guest.dropMemory()
    memory.image = nil
    held = HeldGuest(guest, keeper, limit, report) { [hooks, pauseMs, stopMs] () throws(HookError) in
      try hooks.startAfter(epoch: epoch, pauseMs: pauseMs, stopMs: stopMs)
    }
    keeper = nil
  }

  /// A guest that was to be held on runs instead. Returns what is to be said: that it does not, if so.
  private func letGo(_ epoch: Int, after error: any Error) -> any Error {
    guard let limit = prolonged else { return error }
    do { try limit.end() } catch { return error }
    isHeld = false
    startAfterHook(epoch)
    return error
  }

  private func finishAfterHook() {
    if let failure = afterHook?.finish({}) { note("\(failure)") }
    afterHook = nil
  }

  /// For the statistics, and at once for who watches. Outside the pause.
  func note(_ text: String) {
    statistics.notes.append(text)
    report(.note(text))
  }

  /// Nothing is asked of the guest any more.
  ///
  /// - Parameter calm: it runs; else its keeper has to see to that.
  private func disarm(calm: Bool) {
    for helper in helpers { helper.dismiss() }
    guest.disarm()
    keeper?.dismiss(calm: calm)
    keeper = nil
  }

  /// Thrown out of a take that was told to stop, or that had no more time to get to its pause.
  func mayGoOn() throws {
    try TakeTime(
      guest: guest.identity.name, seconds: options.timeoutSeconds, began: began - probed, cancellation: cancellation
    ).check()
  }

  private func measure<Result>(_ phase: Phase, _ body: () throws -> Result) throws -> Result {
    report(.phase(phase))
    return try times.measure(phase, body)
  }

  private func arm(_ writer: EpochWriter) throws -> Staging {
    keeper = try startKeeper()
    try guest.arm()
    let most = Int(guest.identity.memoryBytes) / EpochFormat.pageSize
    let staging = try Staging(pages: min(most, options.stagingBytes / EpochFormat.pageSize), threads: options.threads)
    try mayGoOn()
    owed = try tracking.begin(base: memory.base)
    if !tracking.hasLog { try guest.keepMapped() }
    if let base = memory.base {
      try mayGoOn()
      try remove(base.pages.subtracting(guest.present), from: writer)
    }
    statistics.tracking = tracking.hasLog ? tracking.name : "none"
    statistics.changes = memory.base == nil ? "all" : tracking.reason == nil ? "log" : "compare"
    statistics.reason = tracking.reason ?? ""
    if statistics.changes == "log", let baseTime, baseTime < .now {
      statistics.dirtyPagesPerSecond =
        Double(owed.count) / Double(EpochTime.now.milliseconds - baseTime.milliseconds) * 1000
    }
    statistics.totalBytes = guest.present.count * EpochFormat.pageSize
    // The worker threads are made now; the pause finds them waiting.
    helpers = [Standby(), Standby()]
    DispatchQueue.concurrentPerform(iterations: options.threads + 2) { _ in usleep(1000) }
    return staging
  }

  func remove(_ pages: PageSet, from writer: EpochWriter) throws {
    var batches = PageSet.Batches(pages)
    while let pfns = batches.take() { try writer.remove(pfns) }
  }

  /// Compresses and writes what is in staging RAM, and empties it.
  func flush(_ staging: Staging, to writer: EpochWriter) throws {
    for block in staging.filled {
      try cancellation.check()
      let counts = try writer.append(block.stored, threads: options.threads)
      statistics.normalPages += counts.stored
      statistics.zeroPages += counts.zero
      statistics.unchangedPages += counts.unchanged
      zeroPages[block.round, default: 0] += counts.zero
    }
    staging.clear()
  }

  /// Compresses and writes what the pause left in RAM; the guest works meanwhile.
  private func write(_ held: Held, to writer: EpochWriter, _ staging: Staging) throws {
    try flush(staging, to: writer)
    try remove(held.gone, from: writer)
    try writer.append(record: GuestRecords.configuration, guest.configuration)
    for record in held.state.records { try writer.append(record: record.type.rawValue, record.body) }
    // A guest that stands still until it is destroyed does not wait for this.
    if prolonged == nil { try relocate(writer) }
  }

  /// Reads what older files have, some of it for the first time in months: damage that shows is damage of this epoch, too.
  private func relocate(_ writer: EpochWriter) throws {
    do throws(StoreError) {
      statistics.relocatedPages = try writer.relocate(shouldStop: { (try? self.mayGoOn()) == nil })
    } catch {
      guard case .damaged(let path, let what) = error else { throw error }
      memory.base = nil
      throw CheckpointError.builtOnDamage(guest: guest.identity.name, path: path, what)
    }
    try cancellation.check()
  }

  /// The last look before the epoch exists: it holds every page that the guest had.
  private func checkIsWhole(_ writer: EpochWriter, _ held: Held) throws {
    var batches = PageSet.Batches(guest.present.subtracting(held.gone).subtracting(absent))
    while let pfns = batches.take() {
      if let missing = pfns.first(where: { !writer.holds($0) }) {
        throw CheckpointError.incomplete(guest: guest.identity.name, pfn: missing)
      }
    }
  }

  /// The manifest makes the epoch exist.
  private func publish(_ writer: EpochWriter) throws -> EpochManifest {
    let identity = guest.identity
    statistics.dirtySyncs = tracking.syncs
    if let note = guest.suspendNote { statistics.notes.append(note) }
    if prolonged != nil { statistics.notes.append("the guest was held on after its pause, for it was to be destroyed") }
    for index in statistics.rounds.indices {
      // Of what the pause copied only the writing after it tells.
      statistics.rounds[index].zero = zeroPages[statistics.rounds[index].name, default: 0]
    }
    statistics.totalMs = (ContinuousClock.now - began + probed).milliseconds
    return try writer.publish(
      EpochManifest(
        guest: identity.name, uuid: identity.uuid, epoch: writer.epoch, time: instant, kind: identity.kind,
        vcpus: identity.vcpus, memoryBytes: identity.memoryBytes, pauseMs: pauseMs, stopMs: stopMs, disks: disks.disks,
        phases: times.milliseconds, suspendPath: guest.suspendPath, xenVersion: identity.xenVersion,
        statistics: statistics))
  }
}
