public import Checkpoint

/// Why something was not done: the message that `ckpt` prints, and the status with which it ends.
public struct ControlFailure: Codable, Hashable, Sendable, ErrorWithStatus, CustomStringConvertible {
  /// One line: what, where, what to do, and what state the guest is in.
  public let message: String
  /// One of the documented exit statuses.
  public let status: Int32

  public init(message: String, status: ExitStatus) {
    self.message = message
    self.status = status.rawValue
  }

  /// Says what any error of the engine says.
  public init(_ error: any Error) {
    self.init(message: "\(error)", status: ExitStatus(error) ?? .failed)
  }

  public var description: String { message }
  public var exitStatus: ExitStatus { ExitStatus(rawValue: status) ?? .failed }
}

/// The body of an answer that is not 200.
public struct ControlFailureBody: Codable, Sendable {
  public let error: ControlFailure
  public init(_ error: ControlFailure) { self.error = error }
}
