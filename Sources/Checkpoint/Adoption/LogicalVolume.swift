import Glibc

/// A volume of LVM, and what we ask LVM to do with it. No call of LVM is made while a device is suspended.
struct LogicalVolume: Equatable, Sendable, CustomStringConvertible {
  let group: String
  let name: String

  /// As LVM's commands take it: `vg0/web`.
  var description: String { "\(group)/\(name)" }
  var path: String { "/dev/\(group)/\(name)" }

  /// - Parameter text: `vg0/web`; nil for what LVM would not take as names.
  init?(_ text: String) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 2, parts.allSatisfy(Self.isName) else { return nil }
    (group, name) = (parts[0], parts[1])
  }

  /// - Parameter path: `/dev/vg0/web`.
  init?(path: String) {
    guard path.hasPrefix("/dev/") else { return nil }
    self.init(String(path.dropFirst(5)))
  }

  /// - Parameter device: the name that LVM gives the volume's device: hyphens of the names are doubled, a single one stands between
  ///   them. nil for its hidden devices, which have a third part.
  init?(device: String) {
    var parts = [""]
    var rest = Substring(device)
    while let character = rest.popFirst() {
      guard character == "-" else {
        parts[parts.count - 1].append(character)
        continue
      }
      if rest.first == "-" {
        rest.removeFirst()
        parts[parts.count - 1].append("-")
      } else {
        parts.append("")
      }
    }
    guard parts.count == 2, parts.allSatisfy(Self.isName) else { return nil }
    (group, name) = (parts[0], parts[1])
  }

  private static func isName(_ text: String) -> Bool {
    let allowed = text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "+_.-".contains($0)) }
    return allowed && !text.isEmpty && !text.hasPrefix("-") && text != "." && text != ".."
  }

  /// The tag by which a person and other tools see that the volume is an origin of ours.
  static let originTag = "ckpt-origin"

  /// Keeps LVM from activating the volume at the next boot, before our devices stand over it. Changes LVM's metadata only: the
  /// device of a volume in use stays as it is. (`lvchange --permission r` would load LVM's own table over ours.)
  func markAsOrigin() throws {
    try Command.run(["lvchange", "--quiet", "--addtag", Self.originTag, "--setactivationskip", "y", description])
  }

  func unmarkAsOrigin() throws {
    try Command.run(["lvchange", "--quiet", "--deltag", Self.originTag, "--setactivationskip", "n", description])
  }

  func activate() throws {
    try Command.run(["lvchange", "--quiet", "--activate", "y", "--ignoreactivationskip", description])
  }

  func deactivate() throws { try Command.run(["lvchange", "--quiet", "--activate", "n", description]) }

  /// Whether LVM knows a volume, by the uuid of its device. One whose group is not there, as that of a disk that is away, counts as known.
  static func exists(device uuid: String) throws -> Bool {
    let groups = try Command.run(["vgs", "--noheadings", "--options", "vg_uuid"])
    guard isGroupListed(device: uuid, in: String(decoding: groups, as: UTF8.self)) else { return true }
    let output = try Command.run(["lvs", "--noheadings", "--all", "--options", "lv_uuid"])
    return isListed(device: uuid, in: String(decoding: output, as: UTF8.self))
  }

  static func isGroupListed(device uuid: String, in output: String) -> Bool {
    let group = uuid.dropFirst("LVM-".count).prefix(32)
    return output.split(whereSeparator: \.isWhitespace).contains { $0.filter { $0 != "-" } == group }
  }

  /// A device's uuid is `LVM-`, the group's uuid and the volume's, 32 characters each, which `lvs` prints with hyphens between.
  ///
  /// - Returns: true also for a uuid that is none such: of that nothing is known.
  static func isListed(device uuid: String, in output: String) -> Bool {
    let volume = uuid.dropFirst("LVM-".count + 32).prefix(32)
    guard uuid.hasPrefix("LVM-"), volume.count == 32 else { return true }
    return output.split(whereSeparator: \.isWhitespace).contains { $0.filter { $0 != "-" } == volume }
  }
}
