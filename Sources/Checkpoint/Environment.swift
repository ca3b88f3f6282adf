import Glibc

/// A variable of the environment, or nil when it is unset or empty.
package func environment(_ name: String) -> String? {
  guard let value = getenv(name).map({ String(cString: $0) }), !value.isEmpty else { return nil }
  return value
}
