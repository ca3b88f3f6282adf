import Glibc

/// The configuration file of a guest as `xl create` reads it: only the paths of disks in it are changed, and only when told to.
public struct XLFile {
  public struct Line: Equatable, Sendable {
    public var number: Int
    public var old: String
    public var new: String
  }

  public let path: String
  private let lines: [Substring]

  /// Where Debian's `xendomains` and people look.
  public static func usualPath(of guest: String) -> String { "/etc/xen/\(guest).cfg" }

  /// - Throws: ``PoolError/io(operation:path:errno:)``.
  public init(path: String) throws {
    // `/etc/xen/auto` holds links: what they point at is changed, they stay.
    guard let real = realpath(path, nil) else { throw PoolError.io(operation: "open", path: path, errno: errno) }
    defer { free(real) }
    self.path = String(cString: real)
    let text = String(decoding: try DurableFile.read(self.path), as: UTF8.self)
    lines = text.split(separator: "\n", omittingEmptySubsequences: false)
  }

  /// The lines that name one of the old paths, with the new one in its place. Comments stay as they are.
  public func changes(_ paths: [(old: String, new: String)]) -> [Line] {
    lines.enumerated().compactMap { index, line in
      guard !line.drop(while: { $0 == " " || $0 == "\t" }).hasPrefix("#") else { return nil }
      let new = paths.reduce(String(line)) { Self.replace($1.old, with: $1.new, in: $0) }
      return new == line ? nil : Line(number: index + 1, old: String(line), new: new)
    }
  }

  /// Writes the changed lines; the file is either the old or the new one after a crash, and has the mode and owner that it had.
  public func write(_ changes: [Line]) throws {
    var lines = lines.map(String.init)
    for change in changes { lines[change.number - 1] = change.new }
    var before = stat()
    guard stat(path, &before) == 0 else { throw PoolError.io(operation: "examine", path: path, errno: errno) }
    try DurableFile.replace(path, with: Array(lines.joined(separator: "\n").utf8), like: before)
  }

  /// A path ends where a character comes that no device's name has: `/dev/vg0/web` is not part of `/dev/vg0/web2`.
  private static func replace(_ old: String, with new: String, in line: String) -> String {
    guard !old.isEmpty else { return line }
    var result = ""
    var rest = Substring(line)
    while let found = rest.firstRange(of: old) {
      let before = rest[..<found.lowerBound].last ?? result.last
      let whole = !(before.map(isPart) ?? false) && !(rest[found.upperBound...].first.map(isPart) ?? false)
      result += rest[..<found.lowerBound]
      result += whole ? new : old
      rest = rest[found.upperBound...]
    }
    return result + rest
  }

  private static func isPart(_ character: Character) -> Bool {
    character.isLetter || character.isNumber || "/_-.+".contains(character)
  }
}
