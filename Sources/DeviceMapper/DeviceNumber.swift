internal import CLinux
import Glibc

/// A block device as the kernel and xenstore name it. Table lines and `physical-device` use it instead of a path,
/// because a path may be renamed or re-pointed.
public struct DeviceNumber: Hashable, Sendable, CustomStringConvertible {
  public var major: UInt32
  public var minor: UInt32

  public init(major: UInt32, minor: UInt32) {
    self.major = major
    self.minor = minor
  }

  /// Decimal "254:16", the form of table lines and status lines.
  public init?(_ text: some StringProtocol) {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == 2, let major = UInt32(parts[0]), let minor = UInt32(parts[1]) else { return nil }
    self.init(major: major, minor: minor)
  }

  /// The number of the block device at `path` (symbolic links are followed), nil when there is none.
  public init?(ofDevice path: String) {
    var status = stat()
    guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFBLK else { return nil }
    self.init(UInt64(status.st_rdev))
  }

  init(_ device: UInt64) {
    self.init(major: ckpt_device_major(device), minor: ckpt_device_minor(device))
  }

  public var description: String { "\(major):\(minor)" }
}
