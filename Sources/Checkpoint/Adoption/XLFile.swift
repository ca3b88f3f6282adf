import Glibc

/// The configuration file of a guest as `xl create` reads it: only the paths of disks in it are changed, and a uuid added, and only when
/// told to. All other bytes stay as they are, whatever they mean: no encoding is assumed, and lines keep their ends.
public struct XLFile {
  public struct Line: Equatable, Sendable {
    public let number: Int
    let bytes: [UInt8]

    /// The changed or new line, for people.
    public var text: String {
      String(decoding: bytes.last == XLFile.carriageReturn ? bytes.dropLast() : bytes[...], as: UTF8.self)
    }
  }

  public let path: String
  private let lines: [ArraySlice<UInt8>]

  private static let lineFeed = UInt8(ascii: "\n")
  fileprivate static let carriageReturn = UInt8(ascii: "\r")

  /// As a file says it.
  public static func setting(uuid: String) -> String { "uuid = \"\(uuid)\"" }

  /// Where Debian's `xendomains` and people look.
  public static func usualPath(of guest: String) -> String { "/etc/xen/\(guest).cfg" }

  /// - Throws: ``PoolError/io(operation:path:errno:)``.
  public init(path: String) throws {
    // `/etc/xen/auto` holds links: what they point at is changed, they stay.
    guard let real = realpath(path, nil) else { throw PoolError.io(operation: "open", path: path, errno: errno) }
    defer { free(real) }
    self.path = String(cString: real)
    lines = try DurableFile.read(self.path).split(separator: Self.lineFeed, omittingEmptySubsequences: false)
  }

  /// The lines that name one of the old paths, with the new one in its place. Comments stay as they are.
  public func changes(_ paths: [(old: String, new: String)]) -> [Line] {
    let paths = paths.map { (old: Array($0.old.utf8), new: Array($0.new.utf8)) }
    return lines.enumerated().compactMap { index, line in
      let start = line.first { $0 != UInt8(ascii: " ") && $0 != UInt8(ascii: "\t") }
      guard start != UInt8(ascii: "#") else { return nil }
      let new = paths.reduce(Array(line)) { Self.replace($1.old, with: $1.new, in: $0) }
      return new == Array(line) ? nil : Line(number: index + 1, bytes: new)
    }
  }

  /// The uuid that it gives the guest; nil when it gives none. Of several the last one holds, as for xl.
  public var uuid: String? {
    let settings = lines.flatMap { line in
      String(decoding: line, as: UTF8.self).prefix { $0 != "#" }.split(separator: ";")
    }
    let value = #/\s*uuid\s*=\s*['"]?([^'"\s]*)/#
    return settings.compactMap { $0.prefixMatch(of: value) }.last.map { String($0.1) }
  }

  /// The line that gives the guest its uuid, to stand at the end.
  public func line(uuid: String) -> Line {
    Line(number: lines.count + (lacksEnd ? 1 : 0), bytes: Array(Self.setting(uuid: uuid).utf8))
  }

  /// The last line lacks its end.
  private var lacksEnd: Bool { lines.last?.isEmpty == false }

  /// As the file has it after its first line.
  private var lineEnd: [UInt8] {
    lines.count > 1 && lines[0].last == Self.carriageReturn ? [Self.carriageReturn, Self.lineFeed] : [Self.lineFeed]
  }

  /// Writes the changed lines, and a new one at the end; the file is either the old or the new one after a crash, and has the mode and
  /// owner that it had.
  public func write(_ changes: [Line], adding new: Line? = nil) throws {
    var lines = lines
    for change in changes { lines[change.number - 1] = change.bytes[...] }
    var bytes = Array(lines.joined(separator: [Self.lineFeed]))
    if let new { bytes += (lacksEnd ? lineEnd : []) + new.bytes + lineEnd }
    var before = stat()
    guard stat(path, &before) == 0 else { throw PoolError.io(operation: "examine", path: path, errno: errno) }
    try DurableFile.replace(path, with: bytes, like: before)
  }

  /// A path ends where a character comes that no device's name has: `/dev/vg0/web` is not part of `/dev/vg0/web2`.
  private static func replace(_ old: [UInt8], with new: [UInt8], in line: [UInt8]) -> [UInt8] {
    guard !old.isEmpty else { return line }
    var result: [UInt8] = []
    var rest = line[...]
    while let found = rest.firstRange(of: old) {
      let before = rest[..<found.lowerBound].last ?? result.last
      let whole = !(before.map(isPart) ?? false) && !(rest[found.upperBound...].first.map(isPart) ?? false)
      result += rest[..<found.lowerBound]
      result += whole ? new : old
      rest = rest[found.upperBound...]
    }
    return result + rest
  }

  /// Letters and digits, those beyond ASCII too, and what else stands in names.
  private static func isPart(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), 0x80...:
      true
    default: "/_-.+".utf8.contains(byte)
    }
  }
}
