import EpochStore
import Foundation

/// Any JSON but null, which no command prints.
enum JSON: Decodable {
  case text(String)
  case number
  case boolean
  case list([JSON])
  case object([String: JSON])

  init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if let text = try? container.decode(String.self) {
      self = .text(text)
    } else if (try? container.decode(Bool.self)) != nil {
      self = .boolean
    } else if (try? container.decode(Double.self)) != nil {
      self = .number
    } else if let list = try? container.decode([JSON].self) {
      self = .list(list)
    } else {
      self = .object(try container.decode([String: JSON].self))
    }
  }

  init(_ value: some Encodable) throws {
    self = try JSONDecoder().decode(JSON.self, from: try JSONEncoder().encode(value))
  }

  private var type: String {
    switch self {
    case .text(let text): EpochTime(text) == nil ? "text" : "time"
    case .number: "number"
    case .boolean: "boolean"
    case .list: "list"
    case .object: "object"
    }
  }

  /// A line for each key that occurs, `disks.thin_id: number`; what is in a list is one below its key.
  ///
  /// - Parameter open: paths of the objects whose keys are data; each of these is called `*`.
  func shape(under path: String = "", open: Set<String>) -> Set<String> {
    switch self {
    case .list(let values): return values.reduce(into: []) { $0.formUnion($1.shape(under: path, open: open)) }
    case .object(let values):
      return values.reduce(into: []) { lines, pair in
        let below = JSON.path(path, open.contains(path) ? JSON.anyKey : pair.key)
        lines.insert("\(below): \(pair.value.type)")
        lines.formUnion(pair.value.shape(under: below, open: open))
      }
    case .text, .number, .boolean: return []
    }
  }

  static let anyKey = "*"
  static func path(_ above: String, _ key: String) -> String { above.isEmpty ? key : "\(above).\(key)" }
}
