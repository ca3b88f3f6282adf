/// A unit of systemd, as `systemctl show` tells of it.
public struct UnitState: Sendable, Equatable {
  public var name: String
  public var isInstalled: Bool
  public var isEnabled: Bool
  public var isActive: Bool
  public var hasFailed: Bool

  public init(
    _ name: String, isInstalled: Bool = true, isEnabled: Bool = true, isActive: Bool = true, hasFailed: Bool = false
  ) {
    (self.name, self.isInstalled, self.isEnabled) = (name, isInstalled, isEnabled)
    (self.isActive, self.hasFailed) = (isActive, hasFailed)
  }

  /// The properties that ``init(shown:)`` wants.
  static let properties = "Id,LoadState,ActiveState,UnitFileState"

  /// - Parameter text: `KEY=VALUE` lines of one unit.
  init?(shown text: some StringProtocol) {
    var values: [Substring: Substring] = [:]
    for line in text.split(separator: "\n") {
      guard let equals = line.firstIndex(of: "=") else { continue }
      values[Substring(line[..<equals])] = Substring(line[line.index(after: equals)...])
    }
    guard let name = values["Id"] else { return nil }
    self.init(
      String(name), isInstalled: values["LoadState"] == "loaded",
      isEnabled: ["enabled", "enabled-runtime", "static", "alias"].contains(values["UnitFileState"] ?? ""),
      isActive: ["active", "reloading", "activating"].contains(values["ActiveState"] ?? ""),
      hasFailed: values["ActiveState"] == "failed")
  }

  /// All units of an answer; an empty line stands between them.
  static func all(in text: String) -> [UnitState] {
    text.split(separator: "\n\n").compactMap { UnitState(shown: $0) }
  }
}
