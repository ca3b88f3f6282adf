import EpochStore
import Synchronization
import Xen

/// What a pause brought besides the pages in staging RAM.
struct Held {
  let state: GuestState
  /// Frame numbers that have no page any more.
  let gone: PageSet
  /// What the last look into the log of dirty pages brought.
  let written: PageSet
}

extension Take {
  /// From the request until the guest runs again. Nothing here but copies: no compression, no file, no allocation of pages.
  func pause(_ writer: EpochWriter, _ staging: Staging) throws -> Held {
    _ = try step("request_prepare") { try keeper?.awaitReady() }
    // The last of what may have taken long.
    try mayGoOn()
    try cancellation.beginPause()
    report(.phase(.request))
    let hook = pauseHook(writer.epoch)
    defer { if let failure = hook?.finish() { note("\(failure)") } }
    let limit = try step("request_prepare") {
      // Before the request, so that its waking is over by then.
      try keeper?.asked(seconds: options.mostPauseSeconds)
      do { try guest.prepareRequest() } catch {
        keeper?.released()
        throw error
      }
      return PauseLimit(guest, keeper)
    }
    let signals = HeldSignals()
    defer { signals.release() }
    let urgency = Urgency(.pause)
    defer { urgency.end() }
    let requested = ContinuousClock.now
    let deadline = requested + .seconds(options.mostPauseSeconds)
    let freezing: FreezeRound
    do {
      try times.measure(.request, guest.request)
      freezing = FreezeRound(self, staging)
      do {
        let isOurs = try times.measure(.freeze) { try awaitSuspended(signals) }
        guard isOurs else { throw tooLong }
      } catch {
        _ = try? freezing.end()
        throw error
      }
    } catch {
      // The guest runs on.
      limit.cancel()
      throw error
    }
    let suspended = ContinuousClock.now
    limit.begin(until: deadline)
    isHeld = true
    instant = .now
    hook?.release()
    let disks = disks
    let snapshot = Background(on: helpers[0]) {
      FaultPoint.reach(.disks)
      let start = ContinuousClock.now
      return (steps: try disks.snapshot(), took: ContinuousClock.now - start)
    }
    let copied = Result {
      try times.measure(.copy) { try hold(freezing, writer, staging, until: deadline) }
    }
    let inTime = snapshot.isDone(by: deadline)
    hook?.await(until: deadline)
    // Whatever happened to the copy: first the guest.
    if !isToStay(limit, inTime, copied) {
      do { try times.measure(.resume, limit.end) } catch {
        // Nobody may undo the pools while the snapshots are still being made.
        _ = try? snapshot.wait()
        throw error
      }
      isHeld = false
    }
    let end = ContinuousClock.now
    pauseMs = (end - requested).milliseconds
    stopMs = (end - suspended).milliseconds
    if !isHeld { startAfterHook(writer.epoch) }
    let snapshotted: (steps: [String: Double], took: Duration)
    do { snapshotted = try snapshot.wait() } catch {
      times.breaks(.disks)
      throw error
    }
    times.record(.disks, snapshotted.took)
    for (step, milliseconds) in snapshotted.steps { times.record("disks_\(step)", milliseconds: milliseconds) }
    guard inTime, !limit.hasPassed else { throw tooLong }
    guard !limit.wasLost else { throw CheckpointError.letGo(guest: guest.identity.name) }
    let held = try copied.get()
    finishRounds()
    return held
  }

  /// Until the guest has taken the request, whoever wants to stop the take can.
  private func awaitSuspended(_ signals: HeldSignals) throws -> Bool {
    let isTaken = { [keeper] in keeper?.hasTaken == true }
    return try guest.awaitSuspended(unless: isTaken) {
      signals.deliver()
      try mayGoOn()
    }
  }

  /// A hook that cannot be run keeps no epoch from being made.
  private func pauseHook(_ epoch: Int) -> PauseHook? {
    do throws(HookError) { return try hooks.preparePause(epoch: epoch) } catch {
      note("\(error)")
      return nil
    }
  }

  /// Whether the guest stands still from here on, because it is not to run again.
  private func isToStay(_ limit: PauseLimit, _ inTime: Bool, _ copied: Result<Held, any Error>) -> Bool {
    // The resume tells whether another tool let it go while it was copied; here nothing else does.
    guard holdsOn, inTime, case .success = copied, guest.presence == .suspended,
      limit.prolong(seconds: HeldGuest.mostSeconds)
    else { return false }
    prolonged = limit
    return true
  }

  func startAfterHook(_ epoch: Int) {
    do throws(HookError) {
      afterHook = try hooks.startAfter(epoch: epoch, pauseMs: pauseMs, stopMs: stopMs)
    } catch {
      note("\(error)")
    }
  }

  private var tooLong: CheckpointError {
    .pauseTooLong(guest: guest.identity.name, seconds: options.mostPauseSeconds)
  }

  /// The suspended guest's part: the last dirty pages, then its CPUs.
  private func hold(
    _ freezing: FreezeRound, _ writer: EpochWriter, _ staging: Staging, until deadline: ContinuousClock.Instant
  ) throws -> Held {
    let start = ContinuousClock.now
    let processors = step("copy_begin", readProcessors)
    let early = try step("copy_freeze_end", freezing.end)
    var round = TakeStatistics.Round(name: "pause")
    staging.round = round.name
    var written = PageSet()
    if tracking.hasLog {
      written = try step("copy_log", tracking.lastLook)
      round.dirtied = written.count
      owed.formUnion(written)
    }
    var moved = try step("copy_settle") { isRestless ? try guest.settleAnew() : try guest.settle() }
    if comparesInPause { owed = guest.present } else { owed.formUnion(moved.come) }
    round.pages = owed.count
    var outcome = try copyAll(owed, pages: round.pages, writer, staging, until: deadline)
    note(outcome)
    let present = guest.present
    let missing = PageSet(early.absent + outcome.absent)
    if unscanned.contains(where: { !present.contains($0) }) || lostWritten(missing) {
      // A page came for one that went: the count of pages could not tell.
      let more = try guest.settleAnew()
      var again = more.come
      again.formUnion(missing.intersection(guest.present))
      let rest = try copyAll(again, pages: again.count, writer, staging, until: deadline)
      note(rest)
      outcome.add(rest)
      moved.gone.formUnion(more.gone)
      let present = guest.present
      for pfn in unscanned where !present.contains(pfn) { moved.gone.insert(pfn) }
    }
    // Not the wait, but what reading them took, beside the copy.
    try times.add("copy_state", milliseconds: processors.wait().milliseconds)
    let state = try step("copy_state", guest.state)
    var gone = moved.gone
    for pfn in early.absent + outcome.absent { gone.insert(pfn) }
    for pfn in outcome.copied { gone.remove(pfn) }
    round.add(outcome)
    round.ms = (ContinuousClock.now - start).milliseconds
    statistics.rounds.append(round)
    return Held(state: state, gone: gone, written: written)
  }

  /// What was written since the live copy is known of no page.
  private var comparesInPause: Bool { !tracking.hasLog || isRestless }

  /// A dozen hypercalls for each of a PV guest's CPUs, beside the copy of the pages. Tells how long they took.
  private func readProcessors() -> Background<Duration> {
    nonisolated(unsafe) let guest = guest
    return Background(on: helpers[1]) {
      let start = ContinuousClock.now
      try guest.readProcessors()
      return ContinuousClock.now - start
    }
  }

  /// Copies a set whole; what does not fit into staging RAM is written out now, or the take ends, as the policy says.
  private func copyAll(
    _ set: PageSet, pages: Int, _ writer: EpochWriter, _ staging: Staging, until deadline: ContinuousClock.Instant
  ) throws -> PageCopier.Outcome {
    var copier = PageCopier(guest: guest, staging: staging, threads: options.threads)
    if comparesInPause { copier.compare(with: writer) }
    copier.byStretch = !tracking.hasLog
    copier.shouldStop = { ContinuousClock.now > deadline }
    let mapping = guest.mappingMs
    let start = ContinuousClock.now
    var all = try copier.copy(set, pages: pages, running: false)
    while !all.rest.isEmpty {
      guard all.ranOut else { throw tooLong }
      guard options.staging == .spill else {
        throw stagingFull(staging)
      }
      // The pages that they show are out of staging RAM by now: what is mapped stays as bounded as that.
      guest.unmapSpent()
      statistics.spilledBytes += staging.filled.reduce(0) { $0 + $1.count } * EpochFormat.pageSize
      try flush(staging, to: writer)
      let rest = all.rest
      all.rest = PageSet()
      all.ranOut = false
      all.add(try copier.copy(rest, pages: rest.count, running: false))
    }
    // Threads map side by side; of each one's time it is the mean.
    let mapped = (guest.mappingMs - mapping) / Double(copier.width(pages))
    times.add("copy_mapping", milliseconds: mapped)
    times.add("copy_pages", milliseconds: (ContinuousClock.now - start).milliseconds - mapped)
    return all
  }

  private func step<Result>(_ name: String, _ body: () throws -> Result) rethrows -> Result {
    let start = ContinuousClock.now
    defer { times.add(name, milliseconds: (ContinuousClock.now - start).milliseconds) }
    return try body()
  }

  private func finishRounds() {
    for round in statistics.rounds.suffix(2) {
      let bytes = round.copied * EpochFormat.pageSize
      if round.name == "freeze" {
        statistics.freezeBytes = bytes
      } else if round.name == "pause" {
        statistics.pauseBytes = bytes
      } else {
        continue
      }
      statistics.transferredBytes += bytes
      report(.round(round))
    }
  }
}

/// One more live round while the guest freezes: what the last collect found is copied now, so that less is left to the pause. It
/// only copies; whatever it has no time for is owed still. There is none after a live copy that ended well: what is left then is
/// still in the log, and would be copied twice.
final class FreezeRound: @unchecked Sendable {
  // Unchecked: the take's state belongs to this round until `end` has waited for it.
  private var task: (take: Take, staging: Staging)?
  private let isOver = Atomic(false)
  /// One of the two may set it: the round as it begins, or the pause that does not want it any more.
  private let isClaimed = Atomic(false)
  private var work: Background<(PageCopier.Outcome, Int, Double)>?

  /// Pages between two looks at whether the guest is suspended.
  private static let batch = 128

  init(_ take: Take, _ staging: Staging) {
    task = (take, staging)
    // Where the pause compares with what is written to the epoch, nothing newer may wait in staging RAM.
    guard take.tracking.hasLog, !take.isRestless, take.statistics.precopyEnd != PrecopyRule.small else { return }
    work = Background { [self] in try run() }
  }

  private func run() throws -> (PageCopier.Outcome, Int, Double) {
    guard claim(), let (take, staging) = task else { return (PageCopier.Outcome(), 0, 0) }
    let start = ContinuousClock.now
    staging.round = "freeze"
    var copier = PageCopier(guest: take.guest, staging: staging, threads: 1)
    copier.shouldStop = { [self] in isOver.load(ordering: .relaxed) }
    let owed = take.owed
    let pages = owed.count
    let outcome = try copier.copy(owed, pages: pages, running: true, batch: FreezeRound.batch)
    take.owed = outcome.rest
    for pfn in outcome.torn { take.owed.insert(pfn) }
    return (outcome, pages, (ContinuousClock.now - start).milliseconds)
  }

  private func claim() -> Bool {
    isClaimed.compareExchange(expected: false, desired: true, ordering: .sequentiallyConsistent).exchanged
  }

  /// Ends the round and waits for it; not for one that has found no thread yet, while the guest is held.
  func end() throws -> PageCopier.Outcome {
    isOver.store(true, ordering: .relaxed)
    guard let take = task?.take, let work else { return PageCopier.Outcome() }
    if claim() {
      // The thread comes some time: nothing of this take, neither its lock nor its staging RAM, shall wait for that.
      task = nil
      return PageCopier.Outcome()
    }
    let (outcome, pages, ms) = try work.wait()
    var round = TakeStatistics.Round(name: "freeze", pages: pages, ms: ms)
    round.add(outcome)
    take.statistics.rounds.append(round)
    take.note(outcome)
    return outcome
  }
}
