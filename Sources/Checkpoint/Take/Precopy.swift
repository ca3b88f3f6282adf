import EpochStore
import Xen

extension Take {
  /// Copies live, round by round, what the epoch does not hold yet, until the rest is small or another round is no use.
  ///
  /// A rest that is small stays in the log, for the pause to find: to take it out would write-protect all memory once more, and the
  /// guest would freeze the slower for its faults. A rest that is not is taken out, and the freeze round copies what it can.
  func precopy(_ writer: EpochWriter, _ staging: Staging) throws {
    let start = ContinuousClock.now
    var limit = RateLimit(bytesPerSecond: options.bytesPerSecond)
    var left = owed.count
    var (rounds, stalled) = (0, 0)
    while true {
      try mayGoOn()
      let seconds = (ContinuousClock.now - start).milliseconds / 1000
      if let end = options.precopy.end(
        rounds: rounds, stalled: stalled, left: left, room: staging.capacity, seconds: seconds)
      {
        statistics.precopyEnd = end
        break
      }
      rounds += 1
      let began = left
      // Without a log of what was written meanwhile, what changed in this round tells how much the next one will find.
      let copied = try round(isFirst: rounds == 1, writer, staging, &limit)
      left = tracking.hasLog ? try stillToCopy() : copied
      stalled = Double(left) > Double(began) * options.precopy.shrink ? stalled + 1 : 0
    }
    if tracking.hasLog, statistics.precopyEnd != PrecopyRule.small {
      try collectOwed()
    }
    // Rather before the guest is asked than while it is held.
    if left > staging.capacity, options.staging == .abort { throw stagingFull(staging) }
  }

  /// What all live rounds come to. There is more than one live copy when the guest's memory moves, or another take has a pool.
  func noteRates() {
    let ms = statistics.rounds.reduce(0) { $0 + $1.ms }
    if ms > 0 { statistics.bytesPerSecond = Double(statistics.precopyBytes) / ms * 1000 }
    if watchedMs > 0 {
      statistics.dirtyPagesPerSecond = Double(statistics.rounds.reduce(0) { $0 + $1.dirtied }) / watchedMs * 1000
    }
  }

  func stagingFull(_ staging: Staging) -> CheckpointError {
    .stagingFull(guest: guest.identity.name, bytes: staging.capacity * EpochFormat.pageSize)
  }

  /// Pages that another round would have to copy.
  private func stillToCopy() throws -> Int {
    var pages = try tracking.peek()
    let last = statistics.rounds.count - 1
    statistics.rounds[last].dirtied = pages.count
    watchedMs += statistics.rounds[last].ms
    report(.round(statistics.rounds[last]))
    pages.formUnion(owed)
    return pages.count
  }

  /// One live pass over all that is owed; what was torn or written meanwhile is owed after it. Returns the pages copied.
  private func round(
    isFirst: Bool, _ writer: EpochWriter, _ staging: Staging, _ limit: inout RateLimit
  ) throws -> Int {
    let start = ContinuousClock.now
    if tracking.hasLog { try collectOwed() }
    let compares = tracking.hasLog ? isFirst && statistics.changes == "compare" : true
    var round = beginLiveRound(staging, pages: owed.count)
    var copier = PageCopier(guest: guest, staging: staging, threads: options.threads)
    if compares { copier.compare(with: writer) }
    copier.byStretch = !tracking.hasLog
    copier.shouldStop = { [cancellation] in cancellation.isCancelled }
    var rest = owed
    owed = PageSet()
    repeat {
      try mayGoOn()
      let outcome = try copier.copy(
        rest, pages: rest.count, running: true, most: limit.piece / EpochFormat.pageSize)
      round.add(outcome)
      for pfn in outcome.torn { owed.insert(pfn) }
      note(outcome)
      try flush(staging, to: writer)
      try writer.remove(outcome.absent)
      try limit.spend(outcome.copied.count * EpochFormat.pageSize, mayGoOn)
      rest = outcome.rest
    } while !rest.isEmpty
    if !tracking.hasLog { owed = guest.present }
    endLiveRound(round, since: start)
    if !tracking.hasLog { report(.round(statistics.rounds[statistics.rounds.count - 1])) }
    return round.copied
  }

  /// Live rounds are counted through the whole take, whatever each is for.
  func beginLiveRound(_ staging: Staging, pages: Int) -> TakeStatistics.Round {
    let round = TakeStatistics.Round(name: String(statistics.rounds.count + 1), pages: pages)
    staging.round = round.name
    return round
  }

  /// What it copied is written.
  func endLiveRound(_ round: TakeStatistics.Round, since start: ContinuousClock.Instant) {
    var round = round
    round.zero = zeroPages[round.name, default: 0]
    round.ms = (ContinuousClock.now - start).milliseconds
    statistics.rounds.append(round)
    statistics.precopyBytes += round.copied * EpochFormat.pageSize
    statistics.transferredBytes += round.copied * EpochFormat.pageSize
  }

  /// Remembers pages that were not there, and memory that came since the scan: if the suspended guest's map does not know it, it
  /// must be scanned anew.
  func note(_ outcome: PageCopier.Outcome) {
    let present = guest.present
    for pfn in outcome.absent { absent.insert(pfn) }
    for pfn in outcome.copied {
      if !present.contains(pfn) { unscanned.append(pfn) }
      absent.remove(pfn)
    }
  }
}

extension TakeStatistics.Round {
  mutating func add(_ outcome: PageCopier.Outcome) {
    copied += outcome.copied.count
    unchanged += outcome.unchanged
    torn += outcome.torn.count
    absent += outcome.absent.count
  }
}
