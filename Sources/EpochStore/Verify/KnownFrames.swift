/// What is known of the frames of a guest's files while its epochs are verified one after the other: epochs share most of
/// their frames, and one look at each is enough. Takes 32 bytes for each proven frame.
struct KnownFrames {
  /// Damaged places told apart; beyond it a file with damage counts as damaged all over.
  private static let mostPlaces = 1 << 18

  private struct Proof {
    let offset: UInt64
    let hash: UInt64
    let group: UInt64
    let lower: UInt16
    let upper: UInt16
    /// Pages that the frame was seen to hold, in blocks that are sound.
    var data: UInt16
    let blocks: UInt8
    /// Every block is sound.
    var isWhole: Bool

    /// The frame and its bytes, not what was seen of it.
    func isSame(_ other: Proof) -> Bool {
      (offset, hash, group) == (other.offset, other.hash, other.group)
        && (blocks, lower, upper) == (other.blocks, other.lower, other.upper)
    }
  }

  /// By epoch whose file it is, then sorted by offset.
  private var proofs: [UInt32: [Proof]] = [:]
  /// Damaged pages, by epoch whose file it is and the frame's offset.
  private var places: [UInt32: [UInt64: UInt16]] = [:]
  private var placeCount = 0
  private var ruined: Set<UInt32> = []

  /// True when a frame was read that answers to this very entry.
  ///
  /// - Parameter whole: all of the frame, not only the blocks that the entry needs.
  func isProven(_ entry: PageEntry, whole: Bool) -> Bool {
    guard let proofs = proofs[entry.epoch] else { return false }
    var (low, high) = (0, proofs.count)
    while low < high {
      let middle = (low + high) / 2
      if proofs[middle].offset < entry.offset { low = middle + 1 } else { high = middle }
    }
    guard low < proofs.count else { return false }
    let proof = proofs[low]
    return proof.isSame(Self.proof(entry, whole)) && entry.data & ~proof.data == 0 && (proof.isWhole || !whole)
  }

  /// Which pages are damaged of those that an entry needs, or of all that its frame has; 0 when none is known to be.
  func damage(_ entry: PageEntry, whole: Bool) -> UInt16 {
    if ruined.contains(entry.epoch) { return .max }
    return (places[entry.epoch]?[entry.offset] ?? 0) & (whole ? .max : entry.data)
  }

  mutating func add(_ damage: Findings.Frame) {
    let (epoch, offset) = (damage.entry.epoch, damage.entry.offset)
    if let known = places[epoch]?[offset] {
      places[epoch]?[offset] = known | damage.pages
    } else if placeCount >= Self.mostPlaces {
      ruined.insert(epoch)
    } else {
      places[epoch, default: [:]][offset] = damage.pages
      placeCount += 1
    }
  }

  /// - Parameter epoch: the one that was verified, of whose own file all was looked at.
  mutating func add(proven entries: [PageEntry], of epoch: UInt32, but findings: Findings) {
    for frame in findings.frames { add(frame) }
    var touched: Set<UInt32> = []
    for entry in entries where damage(entry, whole: entry.epoch == epoch) == 0 {
      proofs[entry.epoch, default: []].append(Self.proof(entry, entry.epoch == epoch))
      touched.insert(entry.epoch)
    }
    for epoch in touched { proofs[epoch] = Self.merged(proofs[epoch] ?? []) }
  }

  private static func proof(_ entry: PageEntry, _ isWhole: Bool) -> Proof {
    Proof(
      offset: entry.offset, hash: entry.hash, group: entry.group, lower: entry.lower, upper: entry.upper,
      data: entry.data, blocks: entry.blocks, isWhole: isWhole)
  }

  /// Sorted, and one for each frame: epochs may have looked at different blocks of it.
  private static func merged(_ proofs: [Proof]) -> [Proof] {
    var merged: [Proof] = []
    for proof in proofs.sorted(by: { $0.offset < $1.offset }) {
      if let last = merged.last, last.isSame(proof) {
        merged[merged.count - 1].data |= proof.data
        merged[merged.count - 1].isWhole = last.isWhole || proof.isWhole
      } else {
        merged.append(proof)
      }
    }
    return merged
  }
}

/// The damage of one epoch.
struct Findings {
  /// A frame and its damaged pages.
  struct Frame {
    let entry: PageEntry
    let pages: UInt16
  }

  /// The first ones in words, at most ``EpochVerdict/mostDamage``.
  private(set) var damage: [EpochVerdict.Damage] = []
  private(set) var count = 0
  private(set) var frames: [Frame] = []

  mutating func add(_ error: StoreError, frame: Frame? = nil) {
    count += 1
    if damage.count < EpochVerdict.mostDamage { damage.append(EpochVerdict.Damage(error)) }
    if let frame { frames.append(frame) }
  }
}
