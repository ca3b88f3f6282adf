/// The phases of a take, in order; the same words in code, statistics and messages.
public enum Phase: String, Sendable, CaseIterable {
  case probe, reserve, arm, precopy, request, freeze, copy, disks, resume, write, publish
}

/// Milliseconds that each phase took.
final class PhaseTimes {
  private(set) var milliseconds: [String: Double] = [:]
  /// The phase that threw first; before that, the one that began last.
  private(set) var broken = Phase.probe
  private var isBroken = false

  /// Runs one phase and keeps its time, whether it ends well or not.
  func measure<Result>(_ phase: Phase, _ body: () throws -> Result) throws -> Result {
    FaultPoint.reach(phase)
    if !isBroken { broken = phase }
    let start = ContinuousClock.now
    defer { milliseconds[phase.rawValue] = (ContinuousClock.now - start).milliseconds }
    do { return try body() } catch {
      breaks(phase)
      throw error
    }
  }

  /// The phase failed; what fails after it only follows from that.
  func breaks(_ phase: Phase) {
    if !isBroken { (broken, isBroken) = (phase, true) }
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
