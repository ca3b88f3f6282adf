import Foundation
import Testing

@Suite("The manual page of the JSON")
struct JSONPageTests {
  private let page: JSONPage

  init() throws {
    let file = URL(filePath: #filePath).appending(path: "../../../Tools/packaging/man/ckpt-json.7").standardized
    page = JSONPage(try String(contentsOf: file, encoding: .utf8))
  }

  @Test("has a section for each command with --json, and no other")
  func commands() throws {
    let help = try JSONDecoder().decode(Help.self, from: Data(ckpt(["--experimental-dump-help"]).output.utf8))
    #expect(Set(page.commands.keys).sorted() == help.command.withJSON.sorted())
  }

  @Test("explains each key that may occur with its type, and none that may not")
  func samples() throws {
    var occurring: [String: Set<String>] = [:]
    for (command, value) in try JSONSamples.all() {
      let explained = page.commands[command] ?? []
      occurring[command, default: []].formUnion(try JSON(value).shape(open: JSONPage.open(explained)))
    }
    for (command, explained) in page.commands {
      let found = occurring[command] ?? []
      #expect(found.subtracting(explained).sorted() == [], "ckpt \(command) prints what the page does not explain")
      #expect(explained.subtracting(found).sorted() == [], "the page explains what ckpt \(command) does not print")
    }
  }

  @Test("is true of what commands print")
  func runs() throws {
    let store = try SampleStore()
    let lines: [[String]] = [
      ["tag", "web", "1", "a"], ["pin", "web", "1"], ["note", "web", "1", "text"], ["list"], ["show", "web", "1"],
      ["unpin", "web", "1"], ["untag", "web", "1", "a"], ["verify", "--full"], ["verify", "--subset", "5%"],
      ["schedule", "set", "web", "--every", "5m", "--keep-last", "2"], ["schedule", "pause", "web"],
      ["schedule", "list"], ["schedule", "resume", "web"], ["schedule", "remove", "web"], ["status"], ["doctor"],
      ["prune", "web", "--keep-last", "1", "-n"],
      ["export", "web", "2", store.path + "/bundle", "--bundle"], ["remove", "web", "1", "-n"],
      ["prune", "web", "--keep-last", "1", "--yes"], ["remove", "web", "2", "--yes"],
    ]
    for line in lines {
      let command = line[0...(page.commands[line[0]] == nil ? 1 : 0)].joined(separator: " ")
      let result = try ckpt(line + ["--json", "--store", store.path])
      let explained = try #require(page.commands[command])
      let printed = try #require(
        try? JSONDecoder().decode(JSON.self, from: Data(result.output.utf8)), "\(line): \(result)")
      #expect(printed.shape(open: JSONPage.open(explained)).subtracting(explained).sorted() == [], "\(line)")
    }
    let check = try ckpt(["config", "check", "/nowhere/ckpt.conf", "--json"]).output
    let shape = try JSONDecoder().decode(JSON.self, from: Data(check.utf8)).shape(open: [])
    #expect(shape == page.commands["config check"])
  }
}

/// The commands as the program tells them.
private struct Help: Decodable {
  struct Command: Decodable {
    struct Argument: Decodable { let valueName: String? }
    let commandName: String
    let arguments: [Argument]?
    let subcommands: [Command]?

    /// Names of those that know --json, without the program's.
    var withJSON: [String] {
      (subcommands ?? []).flatMap { command in
        let takes = command.arguments?.contains { $0.valueName == "json" } == true
        return (takes ? [command.commandName] : []) + command.withJSON.map { "\(command.commandName) \($0)" }
      }
    }
  }
  let command: Command
}
