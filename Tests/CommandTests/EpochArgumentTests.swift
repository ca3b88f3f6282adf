import Foundation
import Testing

@testable import ckpt

@Suite("Words that look like numbers of options")
struct EpochArgumentTests {
  /// What the words became; `−` is the minus that the parser does not mind.
  @Test(
    "are epochs where an epoch stands, and nowhere else",
    arguments: [
      (["show", "web", "-1"], ["show", "web", "−1"]),
      (["show", "-1", "-1"], ["show", "-1", "−1"]),
      (["show", "--store", "/s", "web", "-1", "--json"], ["show", "--store", "/s", "web", "−1", "--json"]),
      (["show", "--store=/s", "web", "-1"], ["show", "--store=/s", "web", "−1"]),
      (["show", "--store", "-1", "web", "-2"], ["show", "--store", "-1", "web", "−2"]),
      (["note", "web", "-1", "-5"], ["note", "web", "−1", "-5"]),
      (["tag", "web", "-1", "-5"], ["tag", "web", "−1", "-5"]),
      (["restore", "web", "--as", "-3", "-1"], ["restore", "web", "--as", "-3", "−1"]),
      (["export", "web", "-1", "f", "--since", "-2"], ["export", "web", "−1", "f", "--since", "−2"]),
      (["diff", "web", "-2", "-1"], ["diff", "web", "−2", "−1"]),
      (["remove", "web", "-n", "-1", "3", "-2"], ["remove", "web", "-n", "−1", "3", "−2"]),
      (["mount", "web", "-1", "xvda", "--at", "-1"], ["mount", "web", "−1", "xvda", "--at", "-1"]),
      (["show", "--", "web", "-1"], ["show", "--", "web", "-1"]),
      (["prune", "web", "--keep-last", "-1"], ["prune", "web", "--keep-last", "-1"]),
      (["take", "-1"], ["take", "-1"]), ([], []),
    ] as [([String], [String])])
  func places(typed: [String], parsed: [String]) { #expect(EpochArgument.admitNegatives(typed) == parsed) }

  @Test("are told as they were typed")
  func messages() throws {
    let store = try SampleStore()
    for words in [
      ["show", "web", "-0"], ["note", "web", "1", "-5"], ["take", "-5"], ["prune", "--keep-last", "-5"],
    ] {
      let result = try ckpt(words + ["--store", store.path])
      #expect(result.status == 64 && !result.errors.contains("\u{2212}"), "\(words): \(result.errors)")
    }
    #expect(try ckpt(["show", "web", "-0", "--store", store.path]).errors.contains("'-0'"))
    #expect(try ckpt(["note", "web", "1", "--store", store.path, "--", "-5"]).output == "web: epoch 1: note: -5\n")
  }

  @Test("The places are those that the commands have, and all options with a value are known")
  func table() throws {
    let help = try JSONDecoder().decode(Help.self, from: Data(ckpt(["--experimental-dump-help"]).output.utf8))
    var (places, options) = ([String: ClosedRange<Int>](), Set<String>())
    for command in help.command.subcommands ?? [] {
      let words = (command.arguments ?? []).filter { $0.kind == "positional" }
      let epochs = words.indices.filter { ["epoch", "epochs"].contains(words[$0].valueName) }
      guard let first = epochs.first, let last = epochs.last else { continue }
      places[command.commandName] = first...(words[last].isRepeating ? Int.max : last)
      let named = (command.arguments ?? []).filter { $0.kind == "option" }.flatMap { $0.names ?? [] }
      options.formUnion(named.map { "--\($0.name)" })
    }
    #expect(places == EpochArgument.places)
    #expect(options == EpochArgument.optionsWithValue)
  }
}

/// The commands as the program tells them.
private struct Help: Decodable {
  struct Command: Decodable {
    struct Argument: Decodable {
      struct Name: Decodable { let name: String }
      let kind: String
      let isRepeating: Bool
      let valueName: String?
      let names: [Name]?
    }
    let commandName: String
    let arguments: [Argument]?
    let subcommands: [Command]?
  }
  let command: Command
}
