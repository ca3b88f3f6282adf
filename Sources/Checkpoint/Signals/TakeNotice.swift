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
  /// A take made no epoch. One that was only kept out by another, or told to stop, is no failure.
  ///
  /// - Returns: what to tell; nil when it was told before.
  mutating func add(_ failure: TakeFailure, at time: EpochTime = .now) -> TakeNotice? {
    guard failure.kind == .failed || failure.kind == .skipped else { return nil }
    failures += 1
    lastFailure = Failure(
      time: time, kind: failure.kind.rawValue, phase: failure.phase.rawValue, message: failure.message)
    return isTold ? nil : .failed(failure)
  }

  /// A take made an epoch. The row is over; its last failure is kept.
  mutating func end() -> TakeNotice? {
    defer { (failures, isTold) = (0, false) }
    return isTold ? .recovered : nil
  }
}
