public import EpochStore

/// How changes are found from one epoch to the next.
public enum TrackingPolicy: String, Sendable, CaseIterable, Codable {
  /// The log of dirty pages stays on between epochs: a take reads what changed, the guest pays for the log all the time.
  case continuous
  /// The log is on during a take only; what changed since the last epoch is found by comparing every page while the guest runs.
  case perTake = "per-take"
  /// `continuous` for PVH, where the processor's nested paging keeps the log; `per-take` for PV, which would live on shadow
  /// page tables all the time.
  case auto
}

/// What to do with changed pages that do not fit into the memory set aside for the pause.
public enum StagingPolicy: String, Sendable, CaseIterable, Codable {
  /// Write them out within the pause, which gets longer; the statistics say so.
  case spill
  /// Give the take up; the guest runs on.
  case abort
}

/// When live copying ends and the pause may begin.
public struct PrecopyRule: Sendable, Equatable {
  /// So few dirty pages are copied as quickly as the guest freezes.
  public var smallPages = 512
  /// A round that leaves more than this share of what it began with no longer shrinks the rest.
  public var shrink = 0.7
  public var mostRounds = 8
  public var mostSeconds = 60.0

  public init() {}

  /// The best of reasons to end.
  static let small = "small"

  /// Whether another live round is worth it, and the reason if not.
  ///
  /// - Parameters:
  ///   - stalled: how many rounds in a row did not shrink the rest.
  ///   - room: pages that fit into the memory set aside for the pause; a rest that does not gets a round more.
  func end(rounds: Int, stalled: Int, left: Int, room: Int, seconds: Double) -> String? {
    if left <= smallPages { return PrecopyRule.small }
    if rounds >= mostRounds { return "rounds" }
    if seconds >= mostSeconds { return "time" }
    if stalled > (left > room ? 1 : 0) { return "no longer shrinks" }
    return nil
  }
}

/// What a take may cost, and how it works.
public struct TakeOptions: Sendable, Equatable {
  public var tracking = TrackingPolicy.auto
  public var precopy = PrecopyRule()
  /// Memory locked for the pages of the pause, in bytes; never more than the guest has.
  public var stagingBytes = 128 << 20
  public var staging = StagingPolicy.spill
  /// From the request on, in seconds: a guest that is held longer runs again and the take fails.
  public var mostPauseSeconds = 10.0
  /// Guests that the service takes at a time by schedule; the same for all.
  public var takesAtOnce = 2
  /// Bytes per second that live rounds may copy; nil: no limit.
  public var bytesPerSecond: Int?
  /// Seconds within which the pause must have begun, and the guest have taken the request; nil: no limit.
  public var timeoutSeconds: Double?
  public var space = SpaceLimits()
  /// Removes epochs of the guest when there is no room for another; empty: none.
  public var retention = RetentionPolicy()
  public var hooks = HookSettings()
  /// Run when takes begin to fail, and when they succeed again.
  public var notify: HookProgram?
  /// How many threads copy and compress.
  public var threads = EpochStore.processors

  public init() {}

  /// All programs of the configuration that a take may run.
  var programs: [HookProgram] { [hooks.before, hooks.pause, hooks.after, hooks.failed, notify].compactMap(\.self) }
}
