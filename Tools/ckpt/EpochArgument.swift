import ArgumentParser
import EpochStore

/// The argument EPOCH, the same wherever a command takes one.
enum EpochArgument {
  static let help = ArgumentHelp(
    "Epoch: its number, latest, -1 (the newest), -2, a tag, or @2026-11-21T10:00 (the newest until then).",
    valueName: "epoch")

  static func parse(_ text: String) throws -> EpochReference {
    let text = text.hasPrefix(minus) ? "-" + text.dropFirst() : text
    do { return try EpochReference(text) } catch { throw ValidationError(error.description) }
  }

  /// The typographic minus.
  private static let minus = "\u{2212}"

  /// The parser takes `-1` for an option that it does not know. No option of ours is a number, so a word like that means an epoch, and
  /// gets a minus that the parser does not mind.
  static func admitNegatives(_ words: [String]) -> [String] {
    let end = words.firstIndex(of: "--") ?? words.endIndex
    return words[..<end].map { word in
      let digits = word.dropFirst()
      let isNumber = word.hasPrefix("-") && !digits.isEmpty && digits.allSatisfy { $0.isASCII && $0.isNumber }
      return isNumber ? minus + digits : word
    } + words[end...]
  }
}
