/// What is known of the frames of a guest's files while its epochs are verified one after the other: epochs share most of
/// their frames, and one look at each is enough. Takes 32 bytes for each proven frame.
struct KnownFrames {
  /// Damaged places told apart; beyond it a file with damage counts as damaged all over.
  private static let mostPlaces = 1 << 18

  private struct Proof {
    let offset: UInt64
    let hash: UInt64
    let group: UInt64
    let length: UInt32
    /// Pages that the frame was seen to hold.
    let data: UInt16
  }

  /// By epoch whose file it is, then sorted by offset.
  private var proofs: [UInt32: [Proof]] = [:]
  private var places: [UInt32: Set<UInt64>] = [:]
  private var placeCount = 0
  private var ruined: Set<UInt32> = []

  /// True when a frame was read that answers to this very entry.
  func isProven(_ entry: PageEntry) -> Bool {
    guard let proofs = proofs[entry.epoch] else { return false }
    var (low, high) = (0, proofs.count)
    while low < high {
      let middle = (low + high) / 2
      if proofs[middle].offset < entry.offset { low = middle + 1 } else { high = middle }
    }
    guard low < proofs.count else { return false }
    let proof = proofs[low]
    return (proof.offset, proof.hash, proof.group, proof.length)
      == (entry.offset, entry.hash, entry.group, entry.length) && entry.data & ~proof.data == 0
  }

  func isDamaged(_ entry: PageEntry) -> Bool {
    ruined.contains(entry.epoch) || places[entry.epoch]?.contains(entry.offset) == true
  }

  mutating func add(damaged entry: PageEntry) {
    if placeCount >= Self.mostPlaces {
      ruined.insert(entry.epoch)
    } else if places[entry.epoch, default: []].insert(entry.offset).inserted {
      placeCount += 1
    }
  }

  mutating func add(proven entries: [PageEntry], but findings: Findings) {
    for entry in findings.frames { add(damaged: entry) }
    var touched: Set<UInt32> = []
    for entry in entries where !isDamaged(entry) {
      proofs[entry.epoch, default: []].append(
        Proof(offset: entry.offset, hash: entry.hash, group: entry.group, length: entry.length, data: entry.data))
      touched.insert(entry.epoch)
    }
    for epoch in touched { proofs[epoch]?.sort { $0.offset < $1.offset } }
  }
}

/// The damage of one epoch.
struct Findings {
  /// The first ones in words, at most ``EpochVerdict/mostDamage``.
  private(set) var damage: [EpochVerdict.Damage] = []
  private(set) var count = 0
  private(set) var frames: [PageEntry] = []

  mutating func add(_ error: StoreError, frame: PageEntry? = nil) {
    count += 1
    if damage.count < EpochVerdict.mostDamage { damage.append(EpochVerdict.Damage(error)) }
    if let frame { frames.append(frame) }
  }
}
