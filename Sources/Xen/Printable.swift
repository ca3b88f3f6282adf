/// Text from elsewhere, made fit for messages: it can neither end the line, nor steer a terminal, nor fill a log.
public enum Printable {
  /// The same text with control and format characters (line ends, escapes, direction marks) as `\u{1b}`.
  public static func line(_ text: String) -> String {
    // Most text has none.
    guard text.unicodeScalars.contains(where: isInvisible) else { return text }
    return text.unicodeScalars.reduce(into: "") { line, scalar in
      if isInvisible(scalar) { line += escaped(scalar) } else { line.unicodeScalars.append(scalar) }
    }
  }

  /// What a guest wrote, in quotes: its first characters, those that are not printable ASCII as `\u{1b}`.
  static func quoted(_ text: String, most: Int = 32) -> String {
    let scalars = text.unicodeScalars
    let shown = scalars.prefix(most).reduce(into: "") { $0 += (" "..."~").contains($1) ? String($1) : escaped($1) }
    return "'\(shown)\(scalars.count > most ? "…" : "")'"
  }

  private static func escaped(_ scalar: Unicode.Scalar) -> String { "\\u{\(String(scalar.value, radix: 16))}" }

  /// Whether it is a control character, or one that only steers how others are shown.
  public static func isInvisible(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator: true
    default: false
    }
  }
}
