import Glibc

/// What device-mapper refused, on which device, with which errno, and the state things were left in.
public enum DeviceMapperError: Error, Equatable, CustomStringConvertible {
  /// One call, named as its `dmsetup` verb.
  public enum Operation: String, Sendable {
    case open, list, targets, info, table, status, create, load, suspend, resume, remove, clear, message
    case attach, detach, flush, size, read, write, discard
  }

  /// How the failing operation left the device it names.
  public enum LeftState: String, Sendable {
    case unchanged = "nothing was changed"
    case running = "the device is running"
    case suspended = "THE DEVICE IS STILL SUSPENDED"
    case removed = "what was begun was taken back"
    case unknown = "its state is not known"
  }

  /// No device-mapper in this kernel, or no right to use it.
  case unavailable(why: String)
  /// The kernel lacks a target even after loading its module was tried.
  case targetMissing(target: String, module: String)
  /// `device` is empty when the call concerns none, `detail` when libdevmapper says no more than this.
  case failed(Operation, device: String, errno: Int32, detail: String, left: LeftState)
  /// The kernel's status line was not understood, so no decision may be based on it.
  case badStatus(device: String, text: String)
  case badName(String, why: String)

  public var description: String {
    switch self {
    case .unavailable(let why):
      "device-mapper is not usable: \(why)"
    case .targetMissing(let target, let module):
      "device-mapper: target \(target) missing; run: modprobe \(module)"
    case .failed(let operation, let device, let code, let detail, let left):
      "device-mapper: \(operation.rawValue)\(device.isEmpty ? "" : " of \(device)") failed: \(errnoText(code))"
        + (detail.isEmpty ? "" : " (\(detail))") + "; \(left.rawValue)"
    case .badStatus(let device, let text):
      "device-mapper: status of \(device) not understood: '\(text)'"
    case .badName(let name, let why):
      "device-mapper: '\(name)' cannot be used as a name: \(why)"
    }
  }

  /// A device that was resumed by somebody else, without the table that was loaded.
  static func takenAway(table: [Target], from device: String) -> DeviceMapperError {
    .failed(
      .load, device: device, errno: ECANCELED,
      detail: "another program took away '\(table.map(\.description).joined(separator: " | "))'", left: .running)
  }

  /// The errno of a failed call, nil for errors found before one.
  public var code: Int32? {
    if case .failed(_, _, let code, _, _) = self { code } else { nil }
  }

  func leaving(_ state: LeftState) -> DeviceMapperError {
    guard case .failed(let operation, let device, let code, let detail, _) = self else { return self }
    return .failed(operation, device: device, errno: code, detail: detail, left: state)
  }
}
