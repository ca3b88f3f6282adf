import MigrationStream

/// What a restore in place and a clone have in common: steps that are told and timed, and the start through xl.
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

extension EpochStream {
  /// Feeds `xl restore` through a pipe; it makes devices, store and console as for any saved guest. It lets nothing run of which it
  /// did not get the whole stream.
  ///
  /// - Throws: `StoreError` for a page that turns out to be damaged, ``CheckpointError/tool(command:status:message:)``.
  func start(paused: Bool) throws {
    let arguments = ["xl", "restore"] + (paused ? ["-p"] : []) + ["/dev/stdin"]
    let child = try Child(arguments)
    let fed = Result {
      var writer = StreamWriter(DescriptorSink(child.input))
      try write(to: &writer)
    }
    let ended = try child.wait()
    // A stream that could not be made whole is the cause of what xl says; that xl went away is not.
    if case .failure(let error) = fed, error as? StreamError != .receiverGone { throw error }
    guard ended.status == 0 else {
      throw CheckpointError.tool(
        command: arguments.joined(separator: " "), status: ended.status, message: Command.firstLines(ended.errors))
    }
    try fed.get()
  }
}
