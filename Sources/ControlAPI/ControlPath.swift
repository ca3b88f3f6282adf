/// The paths of the API.
public enum ControlPath: String, Sendable {
  case take = "/v1/take"
  case restore = "/v1/restore"
  case undo = "/v1/undo"
  case recover = "/v1/recover"
  case verify = "/v1/verify"
  case prunePlan = "/v1/prune/plan"
  case prune = "/v1/prune"
  case mark = "/v1/mark"
  case rename = "/v1/rename"
  case remove = "/v1/remove"
  /// `GET`: ``DaemonStatus``.
  case status = "/v1/status"
  /// `GET`: a list of ``OperationStatus``. One of them, by its id: `DELETE` gives it up; `POST` of `/answer` with
  /// ``OperationAnswer`` answers its question.
  case operations = "/v1/operations"
  /// `POST`: checks the configuration file and takes it over. ``ReloadAnswer``.
  case reload = "/v1/config/reload"
  /// `POST`: looks at the file of schedules now; it would within a minute. ``DaemonStatus``.
  case reloadSchedules = "/v1/schedules/reload"

  /// The socket of the daemon that systemd starts.
  public static let defaultSocket = "/run/ckpt/ckptd.sock"

  public static func operation(_ id: String) -> String { "\(operations.rawValue)/\(id)" }
  public static func answer(_ id: String) -> String { "\(operation(id))/answer" }
}

/// The answer to an operation's question.
public struct OperationAnswer: Codable, Sendable {
  public let yes: Bool
  public init(yes: Bool) { self.yes = yes }
}
