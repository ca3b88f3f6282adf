/// The times of epochs for a rule that counts how old they are, freed of what a clock that was wrong has done to them.
///
/// A host that boots with a clock months ahead takes an epoch at once, and all others would be too old at that moment. So the youngest
/// stretch without epochs that is longer than the rule's whole span, and eight times as long as usual, is taken for such a jump, and
/// counts for nothing; so does a step back. Where it was no jump, because nobody took the guest for so long, older epochs stay as long
/// again. No epoch is older by this than it says itself.
struct SteadyTimes {
  /// The newest epoch whose time has come; nil when there is none.
  let newest: EpochTime?
  private var times: [Int: EpochTime] = [:]

  /// - Parameter span: gives the instant that lies the rule's span before another.
  init(_ epochs: [Retention.Subject], now: EpochTime, span: (EpochTime) -> EpochTime) {
    // Epochs whose time has not come are no measure; they stay anyway.
    let known = epochs.filter { $0.time <= now }.sorted { $0.epoch > $1.epoch }
    newest = known.first?.time
    let usual = Self.median(zip(known, known.dropFirst()).map { $0.time.milliseconds - $1.time.milliseconds })
    var (shift, hasJumped): (Int64, Bool) = (0, false)
    var younger: EpochTime?
    for epoch in known {
      var time = EpochTime(milliseconds: epoch.time.milliseconds + shift)
      if let younger {
        let gap = younger.milliseconds - time.milliseconds
        let isJump = !hasJumped && time < span(younger) && gap / 8 > usual
        if gap < 0 || isJump {
          time = younger
          shift = younger.milliseconds - epoch.time.milliseconds
        }
        hasJumped = hasJumped || isJump
      }
      times[epoch.epoch] = time
      younger = time
    }
  }

  subscript(_ epoch: Retention.Subject) -> EpochTime { max(times[epoch.epoch] ?? epoch.time, epoch.time) }

  /// Of the steps forward; so long that nothing is eight times longer where there are not two of them.
  private static func median(_ gaps: [Int64]) -> Int64 {
    let forward = gaps.filter { $0 >= 0 }.sorted()
    return forward.count < 2 ? .max : forward[(forward.count - 1) / 2]
  }
}
