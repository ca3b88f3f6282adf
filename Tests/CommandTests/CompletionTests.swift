import Foundation
import Testing

@testable import ckpt

@Suite("What a shell offers")
struct CompletionTests {
  @Test(
    "A guest's name that a shell would read as more than a word is not offered; its uuid is",
    arguments: ["$(reboot)", "`reboot`", "O'Brien", "a b", "a:b", "-r", "", "a\"b", "$HOME", "ä"])
  func odd(name: String) {
    #expect(GuestWord.of(name: name, uuid: "11111111-2222") == "11111111-2222")
    #expect(GuestWord.of(name: "web-1.a_b+c", uuid: "11111111-2222") == "web-1.a_b+c")
  }

  @Test("for files, folders, guests and pools")
  func kinds() throws {
    let help = try JSONDecoder().decode(Help.self, from: Data(ckpt(["--experimental-dump-help"]).output.utf8))
    let expected: [(command: String, argument: String, kind: String)] = [
      ("import", "file", "file"), ("export", "file", "file"), ("config check", "file", "file"),
      ("take", "config", "file"), ("status", "config", "file"), ("doctor", "config", "file"),
      ("adopt", "config", "file"), ("release", "config", "file"), ("mount", "at", "directory"),
      ("pool create", "data", "file"), ("pool create", "metadata", "file"), ("pool create", "file", "directory"),
      ("list", "store", "directory"), ("pool show", "name", "custom"), ("pool grow", "name", "custom"),
      ("pool remove", "name", "custom"),
      ("adopt", "pool", "custom"), ("disk create", "pool", "custom"), ("import", "pool", "custom"),
      ("disk create", "from", "file"),
      ("restore", "vm", "custom"),
    ]
    for (command, argument, kind) in expected {
      #expect(help.command.kind(command.split(separator: " ")[...], argument) == kind, "\(command) \(argument)")
    }
  }

  @Test("The pools of the store, without device-mapper")
  func pools() throws {
    let store = try SampleStore()
    for name in ["main", "fast"] {
      let folder = "\(store.path)/pools/\(name)"
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
      try Data("{}".utf8).write(to: URL(filePath: folder + "/catalog.json"))
    }
    let asked = ["---completion", "pool", "show", "--", "positional@0", "0", "0"]
    #expect(try ckpt(asked, ["CKPT_STORE": store.path]).output == "fast\nmain\n")
    #expect(try ckpt(asked, ["CKPT_STORE": "/nowhere"]).output.split(separator: "\n").isEmpty)
  }
}

/// The commands as the program tells them.
private struct Help: Decodable {
  struct Command: Decodable {
    struct Argument: Decodable {
      /// A key with the kind's name.
      struct Kind: Decodable {
        let name: String

        init(from decoder: any Decoder) throws {
          name = try decoder.singleValueContainer().decode([String: Anything].self).keys.first ?? ""
        }
      }
      struct Anything: Decodable { init(from decoder: any Decoder) {} }
      struct Name: Decodable { let name: String }
      let valueName: String?
      let names: [Name]?
      let completionKind: Kind?
    }
    let commandName: String
    let arguments: [Argument]?
    let subcommands: [Command]?

    /// - Parameter argument: an option's name, or a positional argument's value.
    func kind(_ path: ArraySlice<Substring>, _ argument: String) -> String? {
      guard let first = path.first else {
        let known = arguments?.first {
          $0.names.map { $0.contains { $0.name == argument } } ?? ($0.valueName == argument)
        }
        return known?.completionKind?.name
      }
      return subcommands?.first { $0.commandName == first }?.kind(path.dropFirst(), argument)
    }
  }
  let command: Command
}
