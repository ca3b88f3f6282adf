/// The name of a guest in a file from elsewhere. It goes into messages, JSON and device names.
enum CarriedName {
  static func isUsable(_ name: String) -> Bool {
    1...256 ~= name.utf8.count && name.unicodeScalars.allSatisfy { $0.properties.generalCategory != .control }
  }
}
