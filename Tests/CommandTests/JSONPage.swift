import Foundation

/// The manual page ckpt-json(7) as a machine reads it: `.Ss` begins a command or an object, `.It Cm` explains keys, whose type is
/// the first word of the next line; `.It Ar` stands for keys that are data; `.Bl` goes into what was explained last; `.Sx` says that
/// the keys of another section are in its place as well.
struct JSONPage {
  /// By command, `schedule list`: lines as ``JSON/shape(under:open:)`` makes them.
  let commands: [String: Set<String>]

  init(_ text: String) {
    var sections: [String: [Substring]] = [:]
    var title = ""
    for line in text.split(separator: "\n") {
      if line.hasPrefix(".S"), !line.hasPrefix(".Sx") { title = String(line.dropFirst(".Ss ".count)) }
      sections[title, default: []].append(line)
    }
    var commands: [String: Set<String>] = [:]
    for title in sections.keys where title.hasPrefix("ckpt ") {
      let keys = Self.keys(of: title, in: sections, under: "")
      for command in Self.commands(title) { commands[command] = keys }
    }
    self.commands = commands
  }

  /// Paths of the objects whose keys are data.
  static func open(_ lines: Set<String>) -> Set<String> {
    let end = ".\(JSON.anyKey)"
    return Set(lines.compactMap { line in line.firstRange(of: end + ": ").map { String(line[..<$0.lowerBound]) } })
  }

  /// `ckpt schedule list, set` are `schedule list` and `schedule set`.
  private static func commands(_ title: String) -> [String] {
    let names = title.dropFirst("ckpt ".count).components(separatedBy: ", ")
    let group = names[0].split(separator: " ").dropLast().map { "\($0) " }.joined()
    return [names[0]] + names.dropFirst().map { group + $0 }
  }

  private static func keys(of title: String, in sections: [String: [Substring]], under path: String) -> Set<String> {
    var (lines, above, paths): (Set<String>, [String], [String]) = ([], [], [path])
    var awaitsType = false
    for line in sections[title] ?? [] {
      let words = line.split(separator: " ")
      if awaitsType {
        let type = words[0].filter(\.isLetter).lowercased()
        lines.formUnion(paths.map { "\($0): \(type)" })
      }
      awaitsType = false
      switch words[0] {
      case ".Bl": above.append(paths[paths.count - 1])
      case ".El": paths = [above.removeLast()]
      case ".It":
        let names = words[1] == "Ar" ? [JSON.anyKey] : words.dropFirst(2).filter { $0 != "," }.map(String.init)
        paths = names.map { JSON.path(above[above.count - 1], $0) }
        awaitsType = true
      case ".Sx":
        let other = words.dropFirst().filter { $0 != "." && $0 != "," }.joined(separator: " ")
        lines.formUnion(keys(of: other, in: sections, under: paths[paths.count - 1]))
      default: break
      }
    }
    return lines
  }
}
