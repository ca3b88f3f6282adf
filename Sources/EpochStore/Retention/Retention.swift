/// What a policy makes of a guest's epochs.
///
/// Order is that of the numbers, which are given in the order of the takes; the clock only says into which minute, day or year an
/// epoch falls. A clock that was wrong for a while so costs nobody an epoch.
public enum Retention {
  /// One epoch as the policy sees it.
  public struct Subject: Hashable, Sendable {
    public var epoch: Int
    public var time: EpochTime
    public var tags: [String]
    public var isPinned: Bool
    /// It is what the guest's last rollback, or one that did not end, is undone with.
    public var undoesRollback: Bool
    /// It cannot be restored, or not be trusted.
    public var isDamaged: Bool

    public init(
      epoch: Int, time: EpochTime, tags: [String] = [], isPinned: Bool = false, undoesRollback: Bool = false,
      isDamaged: Bool = false
    ) {
      self.epoch = epoch
      self.time = time
      self.tags = tags
      self.isPinned = isPinned
      self.undoesRollback = undoesRollback
      self.isDamaged = isDamaged
    }
  }

  public struct Verdict: Hashable, Sendable {
    public let epoch: Int
    public let isKept: Bool
    /// Why, at least one.
    public let reasons: [Reason]
  }

  public enum Reason: Hashable, Sendable, CustomStringConvertible {
    case emptyPolicy
    case pinned
    /// The last rollback, or one that did not end, is undone with it.
    case undo
    case tag(String)
    case within
    case last
    /// The newest in its stretch of the calendar, which is written as local time.
    case newest(of: Period, String)
    /// No rule wants it.
    case noRule
    /// Why it takes no place: the rule that keeps it keeps another as well.
    case damaged
    case fromTheFuture

    public var description: String {
      switch self {
      case .emptyPolicy: "the policy is empty"
      case .pinned: "pinned"
      case .undo: "ckpt undo"
      case .tag(let tag): "tag \(tag)"
      case .within: "within"
      case .last: "last"
      case .newest(let period, let name): "\(period.rawValue) \(name)"
      case .noRule: "no rule"
      case .damaged: "damaged"
      case .fromTheFuture: "its time is in the future"
      }
    }
  }

  /// Decides about every epoch, in order of their numbers.
  ///
  /// - An empty policy removes nothing.
  /// - A pinned epoch stays, and so does the one that the last rollback, or one that did not end, is undone with.
  /// - A damaged epoch takes no place: where a rule keeps it, the rule keeps the next whole one as well. So does, for rules that look
  ///   at the clock, one whose time has not come yet.
  /// - `within` counts from the newest epoch whose time has come, so that a guest that is not taken any more keeps what it has, and over
  ///   jumps of the clock (``SteadyTimes``).
  ///
  /// - Throws: `policyRemovesAll` when nothing that can be restored would be left.
  public static func decide(
    _ policy: RetentionPolicy, _ epochs: [Subject], now: EpochTime, zone: LocalZone = .system
  ) throws(StoreError) -> [Verdict] {
    if policy.isEmpty {
      return epochs.sorted { $0.epoch < $1.epoch }.map {
        Verdict(epoch: $0.epoch, isKept: true, reasons: [.emptyPolicy])
      }
    }
    let span = { (time: EpochTime) in policy.within?.before(time, zone) ?? time }
    let times = SteadyTimes(epochs, now: now, span: span)
    let since = policy.within.map { _ in span(times.newest ?? now) }
    var rules = Rule.all(of: policy)
    var verdicts: [Verdict] = []
    for epoch in epochs.sorted(by: { $0.epoch > $1.epoch }) {
      var reasons: [Reason] = epoch.isPinned ? [.pinned] : []
      if epoch.undoesRollback { reasons.append(.undo) }
      reasons += epoch.tags.filter(policy.tags.contains).map(Reason.tag)
      if let since, times[epoch] >= since { reasons.append(.within) }
      for index in rules.indices {
        if let reason = rules[index].keeps(epoch, now: now, zone) { reasons.append(reason) }
      }
      let isKept = !reasons.isEmpty
      if !isKept { reasons.append(.noRule) }
      if epoch.isDamaged { reasons.append(.damaged) }
      if epoch.time > now { reasons.append(.fromTheFuture) }
      verdicts.append(Verdict(epoch: epoch.epoch, isKept: isKept, reasons: reasons))
    }
    verdicts.reverse()
    try refuseToRemoveAll(epochs, verdicts)
    return verdicts
  }

  private static func refuseToRemoveAll(_ epochs: [Subject], _ verdicts: [Verdict]) throws(StoreError) {
    // What is kept for `ckpt undo` alone is no epoch that the policy is for.
    let besides: Set<Reason> = [.undo, .damaged, .fromTheFuture]
    let kept = Set(verdicts.filter { $0.isKept && !besides.isSuperset(of: $0.reasons) }.map(\.epoch))
    var wanted = epochs.filter { !$0.isDamaged }
    if wanted.isEmpty { wanted = epochs }
    guard wanted.isEmpty || verdicts.allSatisfy(\.isKept) || wanted.contains(where: { kept.contains($0.epoch) }) else {
      throw .policyRemovesAll(epochs: wanted.count)
    }
  }
}

/// A stretch of the calendar.
public enum Period: String, CaseIterable, Sendable {
  case minutely, hourly, daily, weekly, monthly, yearly

  /// Minutes and hours that clocks show twice, when they are set back, are two: the distance from UTC tells them apart.
  fileprivate struct Bucket: Hashable {
    let number: Int
    var offset = 0
  }

  fileprivate func bucket(_ seconds: Int, _ zone: LocalZone) -> (Bucket, name: String) {
    let offset = zone.offset(seconds)
    let local = seconds + offset
    let day = local.floor(86400)
    let civil = CivilDay(number: day)
    func name(_ day: CivilDay) -> String { "\(day.year.padded(4))-\(day.month.padded(2))-\(day.day.padded(2))" }
    let hour = (local.floor(3600) - day * 24).padded(2)
    switch self {
    case .minutely:
      let minute = (local.floor(60) - local.floor(3600) * 60).padded(2)
      return (Bucket(number: local.floor(60), offset: offset), "\(name(civil)) \(hour):\(minute)")
    case .hourly: return (Bucket(number: local.floor(3600), offset: offset), "\(name(civil)) \(hour):00")
    case .daily: return (Bucket(number: day), name(civil))
    case .weekly:
      // 1970-01-01 was a Thursday.
      let week = (day + 3).floor(7)
      return (Bucket(number: week), name(CivilDay(number: week * 7 - 3)))
    case .monthly:
      return (Bucket(number: civil.year * 12 + civil.month), "\(civil.year.padded(4))-\(civil.month.padded(2))")
    case .yearly: return (Bucket(number: civil.year), civil.year.padded(4))
    }
  }
}

/// A rule that keeps a number of epochs, and how many it still has to give away.
private struct Rule {
  /// nil: simply the last ones.
  let period: Period?
  var left: Int
  var seen: Set<Period.Bucket> = []

  static func all(of policy: RetentionPolicy) -> [Rule] {
    let counts: [(Period?, Int)] = [
      (nil, policy.last), (.minutely, policy.minutely), (.hourly, policy.hourly), (.daily, policy.daily),
      (.weekly, policy.weekly), (.monthly, policy.monthly), (.yearly, policy.yearly),
    ]
    return counts.map { Rule(period: $0, left: $1) }
  }

  /// Asked about the newest epoch first, then downwards.
  mutating func keeps(_ epoch: Retention.Subject, now: EpochTime, _ zone: LocalZone) -> Retention.Reason? {
    guard left > 0 else { return nil }
    guard let period else {
      if !epoch.isDamaged { left -= 1 }
      return .last
    }
    let (bucket, name) = period.bucket(epoch.time.seconds, zone)
    guard !seen.contains(bucket) else { return nil }
    if !epoch.isDamaged, epoch.time <= now {
      seen.insert(bucket)
      left -= 1
    }
    return .newest(of: period, name)
  }
}
