/// The phases of a take, in order; the same words in code, statistics and messages.
public enum Phase: String, Sendable, CaseIterable {
  case probe, reserve, arm, precopy, request, freeze, copy, disks, resume, write, publish
}

/// Milliseconds that each phase took.
final class PhaseTimes {
  private(set) var milliseconds: [String: Double] = [:]

  /// Runs one phase and keeps its time, whether it ends well or not; an error is told which phase it broke.
  func measure<Result>(_ phase: Phase, _ body: () throws -> Result) throws -> Result {
    FaultPoint.reach(phase)
    let start = ContinuousClock.now
    defer { milliseconds[phase.rawValue] = (ContinuousClock.now - start).milliseconds }
    return try body()
  }

  func record(_ phase: Phase, _ duration: Duration) { milliseconds[phase.rawValue] = duration.milliseconds }

  /// Adds to a step that happens more than once.
  func add(_ step: String, milliseconds: Double) { self.milliseconds[step, default: 0] += milliseconds }

  func record(_ step: String, milliseconds: Double) { self.milliseconds[step] = milliseconds }
}

extension Duration {
  /// Milliseconds with the microseconds behind the point.
  public var milliseconds: Double {
    let microseconds = components.seconds * 1_000_000 + components.attoseconds / 1_000_000_000_000
    return Double(microseconds) / 1000
  }
}
