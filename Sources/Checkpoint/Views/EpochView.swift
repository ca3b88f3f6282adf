import DeviceMapper
import Glibc

/// A device that shows a disk of an epoch.
public struct EpochView: Equatable, Sendable {
  enum Kind: String, CaseIterable {
    /// The epoch's own snapshot, read-only.
    case whole = "view"
    /// A snapshot of it, to be thrown away: a file system that was mounted in the guest has its journal replayed there.
    case scratch
    /// A disk on its way to another host, or from one; see `CarriedDevices`.
    case carried = "carry"
  }

  public var guestUUID: String
  public var epoch: Int
  public var vdev: String
  var device: String
  var number: DeviceNumber
  var pool: String
  var kind: Kind
  /// The process that carries.
  var carrier: pid_t?
  /// Where it is mounted.
  public var mounts: [String]

  public var path: String { "/dev/mapper/\(device)" }
  /// The device takes no writes. One with a file system on it does, for its journal; the mount does not.
  public var isReadOnly: Bool { kind != .scratch }

  /// `ckpt-GUEST-VDEV-epochN`: no disk of a guest is called so, for theirs end with a virtual device's name, and no pool.
  static func device(of snapshot: PoolCatalog.Snapshot) -> String { "\(snapshot.device)-epoch\(snapshot.epoch)" }

  /// Says whose it is, so that it is found again without having been written down.
  static func uuid(_ kind: Kind, of snapshot: PoolCatalog.Snapshot, in catalog: PoolCatalog) -> String {
    prefix(kind, catalog) + "\(snapshot.guestUUID)-\(snapshot.epoch)-\(snapshot.vdev)"
  }

  private static func prefix(_ kind: Kind, _ catalog: PoolCatalog) -> String {
    "\(DeviceName.uuidPrefix)\(catalog.identity)-\(kind.rawValue)-"
  }

  /// nil for a device that is no view of this pool.
  init?(_ info: DeviceInfo, in catalog: PoolCatalog, mounts: Mounts) {
    for kind in Kind.allCases where info.uuid.hasPrefix(Self.prefix(kind, catalog)) {
      let rest = info.uuid.dropFirst(Self.prefix(kind, catalog).count)
      let words = rest.dropFirst(36).split(separator: "-")
      guard rest.count > 36, words.count == (kind == .carried ? 3 : 2), let epoch = Int(words[0]) else { return nil }
      carrier = kind == .carried ? pid_t(words[2]) : nil
      (guestUUID, self.epoch, vdev) = (String(rest.prefix(36)), epoch, String(words[1]))
      (device, number, pool, self.kind) = (info.name, info.number, catalog.name, kind)
      self.mounts = mounts.points(of: info.number, path: "/dev/mapper/\(info.name)")
      return
    }
    return nil
  }
}

/// What is mounted, as the kernel tells it (proc(5), mountinfo).
struct Mounts {
  private var entries: [(number: Substring, source: Substring, point: String)] = []

  init(_ text: String) {
    for line in text.split(separator: "\n") {
      let words = line.split(separator: " ")
      guard words.count > 6, let dash = words.firstIndex(of: "-"), dash + 2 < words.count else { continue }
      entries.append((words[2], words[dash + 2], Self.unescaped(words[4])))
    }
  }

  /// The newest last.
  func points(of number: DeviceNumber, path: String) -> [String] {
    entries.filter { $0.number == "\(number)" || Self.unescaped($0.source) == path }.map { $0.point }
  }

  /// Blanks, tabs, newlines and backslashes stand there as `\` and three octal digits.
  private static func unescaped(_ word: Substring) -> String {
    var bytes: [UInt8] = []
    var rest = word.utf8[...]
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "\\"), let code = UInt8(String(decoding: rest.prefix(3), as: UTF8.self), radix: 8)
      else {
        bytes.append(byte)
        continue
      }
      bytes.append(code)
      rest = rest.dropFirst(3)
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
