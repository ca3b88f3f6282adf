import EpochStore

/// A schedule as it stands in the file; lengths of time as people write them.
extension Schedule: Codable {
  private enum CodingKeys: String, CodingKey, CaseIterable {
    case guest, every, calendar, jitter
    case maxPauseSeconds = "max_pause_seconds"
    case keep, paused, since
  }

  public init(from decoder: any Decoder) throws {
    let container = try decoder.strict(CodingKeys.self)
    let every = try container.text(.every, "interval; write it like 5m or 1h30m", Interval.init)
    let calendar = try container.decodeIfPresent(String.self, forKey: .calendar)
    let timing: Timing
    switch (every, calendar) {
    case (let every?, nil): timing = .every(every)
    case (nil, let calendar?): timing = .calendar(calendar)
    default: throw decoder.refusal("one of 'every' and 'calendar' must be there")
    }
    let read = Result { () throws -> Schedule in
      try Schedule(
        guest: container.decode(String.self, forKey: .guest), timing: timing,
        jitter: container.text(.jitter, "length of time; write it like 30s", Interval.init) ?? .none,
        maxPauseSeconds: container.decodeIfPresent(Double.self, forKey: .maxPauseSeconds),
        keep: container.decodeIfPresent(StrictPolicy.self, forKey: .keep)?.policy ?? RetentionPolicy(),
        isPaused: container.decodeIfPresent(Bool.self, forKey: .paused) ?? false,
        since: container.decode(EpochTime.self, forKey: .since))
    }
    do { self = try read.get() } catch let error as ScheduleError { throw decoder.refusal(error.description) }
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(guest, forKey: .guest)
    switch timing {
    case .every(let interval): try container.encode(interval.description, forKey: .every)
    case .calendar(let expression): try container.encode(expression, forKey: .calendar)
    }
    if jitter > .none { try container.encode(jitter.description, forKey: .jitter) }
    try container.encodeIfPresent(maxPauseSeconds, forKey: .maxPauseSeconds)
    if !keep.isEmpty { try container.encode(keep, forKey: .keep) }
    if isPaused { try container.encode(true, forKey: .paused) }
    try container.encode(since, forKey: .since)
  }
}

/// A policy in a file that people write: a key that is not known is a fault there.
private struct StrictPolicy: Decodable {
  let policy: RetentionPolicy

  init(from decoder: any Decoder) throws {
    _ = try decoder.strict(RetentionPolicy.CodingKeys.self)
    policy = try RetentionPolicy(from: decoder)
  }
}
