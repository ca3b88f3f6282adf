import EpochStore

/// How much the next epoch of a guest will have to store, by what its last ones did.
struct SpaceForecast: Equatable {
  /// An epoch that built on another.
  struct Past: Equatable {
    /// Since the epoch before it.
    var seconds: Double
    var storedPages: Int
    /// Pages that the guest wrote each second while the take watched; 0 where nothing logged them.
    var pagesPerSecond: Double
  }

  /// How many of the last epochs are looked at.
  static let depth = 4

  var past: [Past]

  /// The last epochs of a guest, ascending; those that held everything tell nothing of changes.
  init(_ manifests: [EpochManifest]) {
    past = zip(manifests, manifests.dropFirst()).compactMap { before, manifest in
      guard let statistics = manifest.statistics, statistics.changes != "all" else { return nil }
      let milliseconds = manifest.time.milliseconds - before.time.milliseconds
      return Past(
        seconds: max(1, Double(milliseconds) / 1000), storedPages: max(0, statistics.normalPages),
        pagesPerSecond: max(0, statistics.dirtyPagesPerSecond))
    }
  }

  init(past: [Past]) { self.past = past }

  /// Pages to set room aside for: twice what is to be expected. A guest that writes the same pages again and again changes fewer
  /// than its rate tells, one that idled when it was last watched more than its epochs do: of both estimates the lower one counts,
  /// each taken from the busiest of the last epochs. With nothing to go by, a quarter of the guest.
  ///
  /// A take that needs more goes on as long as the disk has room, and fails cleanly when it has not.
  ///
  /// - Parameters:
  ///   - guest: its pages; never more.
  ///   - seconds: since its last epoch.
  func pages(ofGuest guest: Int, after seconds: Double) -> Int {
    let seconds = max(0, seconds)
    let byRate = past.map(\.pagesPerSecond).filter { $0 > 0 }.max().map { $0 * seconds }
    let byContent = past.map { Double($0.storedPages) * max(1, seconds / $0.seconds) }.max()
    guard let expected = [byRate, byContent].compactMap(\.self).min() else { return guest / 4 }
    let room = min(Double(guest), max(2 * expected, Double(guest / 64), Double(SpaceForecast.least)))
    return Int(room)
  }

  /// Pages; a guest that just stands there still writes its timers and its log.
  static let least = 1024
}
