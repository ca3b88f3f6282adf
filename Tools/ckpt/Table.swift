import Glibc
import Xen

/// Rows in columns as wide as their widest cell; the first row is the head. A line has the terminal's width, at least 80 characters:
/// what is longer goes on below, in its column. Cells may quote a guest or a damaged file: nothing in them steers a terminal.
enum Table {
  static func show(_ rows: [[String]]) { for line in lines(rows, width: lineWidth) { print(line) } }

  static func lines(_ rows: [[String]], width: Int) -> [String] {
    let rows = rows.map { $0.map(Printable.line) }
    let count = rows.map(\.count).max() ?? 0
    let natural = (0..<count).map { column in rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0 }
    let widths = fitted(natural, to: width)
    return rows.flatMap { lines(of: $0, widths) }
  }

  private static func lines(of row: [String], _ widths: [Int]) -> [String] {
    let cells = zip(row, widths).map { wrapped($0, to: $1) }
    return (0..<(cells.map(\.count).max() ?? 0)).map { line in
      let texts = cells.enumerated().map { column, lines in
        let text = line < lines.count ? lines[line] : ""
        return column == row.count - 1 ? text : text + String(repeating: " ", count: widths[column] - text.count)
      }
      return texts.joined(separator: gap)
    }
  }

  private static let gap = "  "

  /// The last column gives way first, down to a few characters; then the widest, whichever it is by then.
  private static func fitted(_ natural: [Int], to width: Int) -> [Int] {
    var widths = natural
    var excess = widths.reduce(0, +) + gap.count * (widths.count - 1) - width
    guard let last = widths.indices.last, excess > 0 else { return widths }
    let given = max(0, min(excess, widths[last] - 12))
    widths[last] -= given
    excess -= given
    while excess > 0, let widest = widths.indices.max(by: { widths[$0] < widths[$1] }), widths[widest] > 4 {
      widths[widest] -= 1
      excess -= 1
    }
    return widths
  }

  /// Breaks between words, in words that are longer than a line too.
  static func wrapped(_ text: String, to room: Int) -> [String] {
    if text.count <= room { return [text] }
    var lines: [String] = [""]
    for word in text.split(separator: " ") {
      var rest = word
      if !lines[lines.count - 1].isEmpty, lines[lines.count - 1].count + 1 + rest.count > room { lines.append("") }
      while true {
        let last = lines[lines.count - 1]
        let space = room - last.count - (last.isEmpty ? 0 : 1)
        lines[lines.count - 1] += (last.isEmpty ? "" : " ") + rest.prefix(space)
        rest = rest.dropFirst(space)
        if rest.isEmpty { break }
        lines.append("")
      }
    }
    return lines
  }

  private static var lineWidth: Int {
    var size = winsize()
    guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0 else { return 80 }
    return max(80, Int(size.ws_col))
  }
}
