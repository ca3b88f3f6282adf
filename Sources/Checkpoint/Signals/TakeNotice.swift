import EpochStore

/// What people are told of a guest's takes: the first failure of a row, and the first success after it.
enum TakeNotice: Equatable {
  case failed(TakeFailure)
  case recovered

  /// `CKPT_RESULT` of the command.
  var result: String {
    switch self {
    case .failed(let failure): failure.kind.rawValue
    case .recovered: "recovered"
    }
  }
}

extension TakeStreak {
  /// From so many takes in a row on that others kept out, over so many milliseconds, nobody can count on the guest's next epoch.
  private static let busyTakes = 3
  private static let busyTime: Int64 = 3_600_000

  /// A take made no epoch. One that was told to stop is no failure, nor is one that another kept out, before it has been so for long.
  ///
  /// - Returns: what to tell; nil when it was told before, or is no failure.
  mutating func add(_ failure: TakeFailure, at time: EpochTime = .now) -> TakeNotice? {
    let count = newFailures(by: failure.kind, at: time)
    guard count > 0 else { return nil }
    failures += count
    lastFailure = Failure(
      time: time, kind: failure.kind.rawValue, phase: failure.phase.rawValue, message: failure.message)
    return isTold ? nil : .failed(failure)
  }

  /// How many takes count as failures that did not before.
  private mutating func newFailures(by kind: TakeFailure.Kind, at time: EpochTime) -> Int {
    switch kind {
    case .interrupted: return 0
    case .busy: return newBusyFailures(at: time)
    case .failed, .skipped:
      busy = nil
      return 1
    }
  }

  private mutating func newBusyFailures(at time: EpochTime) -> Int {
    var row = busy ?? BusyRow(since: time)
    defer { busy = row }
    row.takes += 1
    if row.isCounted { return 1 }
    // Somebody may have set the clock back.
    row.since = min(row.since, time)
    row.isCounted = row.takes >= Self.busyTakes && time.milliseconds - row.since.milliseconds >= Self.busyTime
    return row.isCounted ? row.takes : 0
  }

  /// A take made an epoch. The row is over; its last failure is kept.
  mutating func end() -> TakeNotice? {
    defer { (failures, isTold, busy) = (0, false, nil) }
    return isTold ? .recovered : nil
  }
}
