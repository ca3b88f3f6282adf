import EpochStore
import Xen

extension Take {
  /// The last look before the request at where the guest's memory is. In the pause a PVH guest whose memory moved would wait for
  /// a query of every frame number, a guest without a log for new mappings.
  func followMemory(_ writer: EpochWriter, _ staging: Staging) throws {
    for _ in 1...2 {
      guard try memoryMoved(writer, staging) else { return }
      // Xen logs what is written to a page that came only from the next collect on. Where the page has a new number, the scan
      // found it; where it came in the place of one that had gone, only its content tells.
      owed = guest.present
      statistics.changes = "compare"
      statistics.reason = "the guest's memory was resized during the take"
      try precopy(writer, staging)
    }
    isRestless = try memoryMoved(writer, staging)
  }

  /// Takes what the guest wrote out of the log.
  ///
  /// A page that the guest's balloon had given back at that moment, and that comes back, is written unlogged until the next time, which
  /// drops what the log does not have. Xen's count of the guest's pages tells that some were out.
  func collectOwed() throws {
    // Before it and after it: what is out at the one moment that counts may come back at once.
    if try guest.hasResized() { hasResized = true }
    owed.formUnion(try tracking.collect())
    if try guest.hasResized() { hasResized = true }
  }

  /// Whether the log does not tell everything that a PVH guest's pages hold since the last call.
  private func memoryMoved(_ writer: EpochWriter, _ staging: Staging) throws -> Bool {
    let moved = try settleLive(writer)
    guard tracking.hasLog, guest.identity.kind == .pvh else { return false }
    let returned = try copyReturned(writer, staging)
    defer { hasResized = false }
    return moved || returned || hasResized
  }

  /// Copies pages that were not there when a live copy wanted them, and that the guest has: they came back, unlogged, or are of a kind
  /// that cannot be mapped (another guest's, by grant).
  ///
  /// - Returns: whether one came back.
  private func copyReturned(_ writer: EpochWriter, _ staging: Staging) throws -> Bool {
    let returned = absent.intersection(guest.present)
    guard !returned.isEmpty else { return false }
    let start = ContinuousClock.now
    var round = beginLiveRound(staging, pages: returned.count)
    let copier = PageCopier(guest: guest, staging: staging, threads: options.threads)
    let outcome = try copier.copy(returned, pages: round.pages, running: true)
    round.add(outcome)
    owed.formUnion(outcome.rest)
    for pfn in outcome.torn { owed.insert(pfn) }
    note(outcome)
    try flush(staging, to: writer)
    guard !outcome.copied.isEmpty || !outcome.torn.isEmpty || !outcome.rest.isEmpty else { return false }
    endLiveRound(round, since: start)
    report(.round(statistics.rounds[statistics.rounds.count - 1]))
    return true
  }

  /// Whether pages that the guest wrote are gone by now, though Xen counts as many as before: then others came unlogged. A
  /// guest's balloon driver zeroes what it gives back, so that no page goes without a trace in the log.
  func lostWritten(_ missing: PageSet) -> Bool {
    guard tracking.hasLog, guest.identity.kind == .pvh else { return false }
    return !missing.intersection(guest.present).isEmpty
  }

  /// - Returns: whether anything moved.
  private func settleLive(_ writer: EpochWriter) throws -> Bool {
    let known = guest.present
    let strays = unscanned.filter { !known.contains($0) }
    var moved = try guest.settleLive(anew: !strays.isEmpty || lostWritten(absent))
    let present = guest.present
    // A page that came and went between two scans: only the copy of it tells.
    for pfn in strays where !present.contains(pfn) { moved.gone.insert(pfn) }
    unscanned = []
    guard !moved.come.isEmpty || !moved.gone.isEmpty else { return false }
    try remove(moved.gone, from: writer)
    if tracking.hasLog {
      owed.formUnion(moved.come)
      // What the guest wrote during the scan shall not be left to the pause; and from here on what came is logged.
      try collectOwed()
    }
    return true
  }
}
