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

  /// The parser takes `-1` for an option that it does not know. Where a command has an epoch, a word like that gets a minus that the parser
  /// does not mind; all other words stay as they were typed.
  static func admitNegatives(_ words: [String]) -> [String] {
    guard let command = words.first, let places = places[command] else { return words }
    var (result, place, before) = ([command], 0, command)
    for (index, word) in words.enumerated().dropFirst() {
      if word == "--" { return result + words[index...] }
      let isValue = optionsWithValue.contains(before)
      let isPositional = !isValue && (isNumber(word) || !word.hasPrefix("-"))
      let isEpoch = before == since || (isPositional && places.contains(place))
      result.append(isEpoch && isNumber(word) ? minus + word.dropFirst() : word)
      place += isPositional ? 1 : 0
      // A value that looks like an option is none.
      before = isValue ? "" : word
    }
    return result
  }

  /// A message of the parser, with what was typed as it was typed.
  static func typed(_ message: String) -> String { message.replacing(minus, with: "-") }

  private static func isNumber(_ word: String) -> Bool {
    let digits = word.dropFirst()
    return word.hasPrefix("-") && !digits.isEmpty && digits.allSatisfy { $0.isASCII && $0.isNumber }
  }

  /// Which of a command's words, without options and from 0, are epochs.
  static let places: [String: ClosedRange<Int>] = [
    "diff": 1...2, "export": 1...1, "mount": 1...1, "note": 1...1, "pin": 1...1, "remove": 1...Int.max,
    "restore": 1...1, "show": 1...1, "tag": 1...1, "umount": 1...1, "unpin": 1...1, "untag": 1...1, "verify": 1...1,
  ]

  private static let since = "--since"
  /// The options of these commands that have a word behind them.
  static let optionsWithValue: Set = [since, "--as", "--at", "--format", "--store", "--subset"]
}
