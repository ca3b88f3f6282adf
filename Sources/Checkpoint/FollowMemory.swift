import EpochStore
import Xen

extension Take {
  /// The last look before the request at where the guest's memory is. In the pause a PVH guest whose memory moved would wait for
  /// a query of every frame number, a guest without a log for new mappings.
  func followMemory(_ writer: EpochWriter, _ staging: Staging) throws {
    guard try settleLive(writer), tracking.hasLog, guest.identity.kind == .pvh else { return }
    // Xen logs what is written to a page that came only from the next collect on. Where the page has a new number, the scan
    // found it; where it came in the place of one that had gone, only its content tells.
    owed = guest.present
    statistics.changes = "compare"
    statistics.reason = "the guest's memory was resized during the take"
    try precopy(writer, staging)
    _ = try settleLive(writer)
  }

  /// Whether pages that the guest wrote are gone by now, though Xen counts as many as before: then others came unlogged. A
  /// guest's balloon driver zeroes what it gives back, so that no page goes without a trace in the log.
  func lostWritten(_ missing: PageSet) -> Bool {
    guard tracking.hasLog, guest.identity.kind == .pvh else { return false }
    return !missing.subtracting(missing.subtracting(guest.present)).isEmpty
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
      owed.formUnion(try tracking.collect())
    }
    return true
  }
}
