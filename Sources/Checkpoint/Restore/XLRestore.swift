import MigrationStream

/// `xl restore`, fed through a pipe: it makes devices, store and console as for any saved guest. It makes nothing before it has the
/// guest's configuration, with which the stream begins, and lets nothing run of which it did not get the whole stream.
///
/// So it can be started while it is not yet certain that there will be a stream: loading it and its libraries takes a while, in which
/// the caller goes on. One that is fed nothing ends with this object.
final class XLRestore {
  private let arguments: [String]
  private let child: Child
  private var isFed = false

  /// - Throws: ``CheckpointError/tool(command:status:message:)`` when it cannot be started.
  init(paused: Bool) throws {
    arguments = ["xl", "restore"] + (paused ? ["-p"] : []) + ["/dev/stdin"]
    child = try Child(arguments, inputBytes: Self.pipeBytes)
  }

  /// Room for two whole records of pages: xl takes one out while it has the other in work.
  private static let pipeBytes: Int32 = 8 << 20

  deinit { if !isFed { child.discard() } }

  /// Gives it the whole stream and waits until the guest runs, or stands paused as wanted. Once.
  ///
  /// - Throws: `StoreError` for a page that turns out to be damaged, ``CheckpointError/tool(command:status:message:)``.
  func feed(_ stream: EpochStream) throws {
    isFed = true
    let fed = Result {
      var writer = StreamWriter(DescriptorSink(child.input))
      try stream.write(to: &writer)
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
