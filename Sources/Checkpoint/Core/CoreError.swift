import Glibc
import MigrationStream

/// Why an epoch does not become a core file. The epoch and its guest are as they were.
public enum CoreError: Error, Equatable, CustomStringConvertible {
  /// The epoch has no vCPU, or a state of one that is not Xen's.
  case noRegisters(guest: String, epoch: Int)
  /// The file, or the pipe, took no more.
  case writeFailed(errno: Int32)

  init(_ error: StreamError) {
    if case .writeFailed(let code) = error {
      self = .writeFailed(errno: code)
    } else {
      self = .writeFailed(errno: EPIPE)
    }
  }

  public var description: String {
    switch self {
    case .noRegisters(let guest, let epoch):
      "epoch \(epoch) of '\(guest)' cannot become a core file: it holds no registers that we know; run: "
        + "ckpt verify --full"
    case .writeFailed(EPIPE): "the core file was not written to its end: its reader went away"
    case .writeFailed(let code): "the core file was not written to its end: \(String(cString: strerror(code)))"
    }
  }
}

extension CoreError: ErrorWithStatus {
  public var exitStatus: ExitStatus { .failed }
}
