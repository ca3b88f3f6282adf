/// What a restore in place and a clone have in common: steps that are told and timed.
final class RestoreSteps {
  private let report: (String) -> Void
  /// Milliseconds per step, in order.
  private(set) var times: [(name: String, milliseconds: Double)] = []

  init(_ report: @escaping (String) -> Void) { self.report = report }

  func tell(_ text: String) { report(text) }

  func step<Result>(_ name: String, _ body: () throws -> Result) throws -> Result {
    report(name)
    let start = ContinuousClock.now
    let result = try body()
    times.append((name, (ContinuousClock.now - start).milliseconds))
    return result
  }
}
