import Glibc

/// Paths that may be written in several ways.
package enum Path {
  /// Whether both lead to the same place; of those that lead nowhere, whether they are written the same.
  package static func areSame(_ left: String, _ right: String) -> Bool { real(left) == real(right) }

  private static func real(_ path: String) -> String {
    guard let real = realpath(path, nil) else { return path }
    defer { free(real) }
    return String(cString: real)
  }
}
