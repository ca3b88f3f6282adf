import Checkpoint

/// What the user has to say differently.
struct UsageRefused: ErrorWithStatus, CustomStringConvertible {
  let description: String
  var exitStatus: ExitStatus { .badConfiguration }
}
