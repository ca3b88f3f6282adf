import FoundationEssentials

/// Any JSON, kept so that reading and writing it again changes no value: libxl's memory sizes use the whole of UInt64,
/// which a Double would round. The order of keys is not kept; libxl looks fields up by name.
public enum JSONValue: Equatable, Sendable {
  case null
  case bool(Bool)
  case integer(Int64)
  /// Above Int64.max only.
  case unsigned(UInt64)
  case number(Double)
  case string(String)
  case array([JSONValue])
  case object([String: JSONValue])

  /// - Throws: `XLConfigError.notJSON`, also for nesting deeper than 64: the text may come from a damaged file, and each
  ///   level costs stack.
  public init(parsing text: [UInt8]) throws(XLConfigError) {
    do {
      // Data lives in FoundationEssentials, and JSONDecoder takes nothing else.
      self = try JSONDecoder().decode(JSONValue.self, from: Data(text))
    } catch {
      throw .notJSON
    }
  }

  /// UTF-8 without NUL bytes, keys sorted.
  public func encoded() -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    // Only a Double that is not a number could fail, and no JSON text holds one.
    guard let data = try? encoder.encode(self) else { return Array("null".utf8) }
    return Array(data)
  }

  public init(_ value: UInt64) {
    self = Int64(exactly: value).map(JSONValue.integer) ?? .unsigned(value)
  }

  /// A member of an object. Nil where it is absent or this is no object; setting nil removes it.
  public subscript(key: String) -> JSONValue? {
    get {
      guard case .object(let members) = self else { return nil }
      return members[key]
    }
    set {
      guard case .object(var members) = self else { return }
      members[key] = newValue
      self = .object(members)
    }
  }

  public var text: String? { if case .string(let text) = self { text } else { nil } }
  public var elements: [JSONValue]? { if case .array(let elements) = self { elements } else { nil } }

  public var unsigned: UInt64? {
    switch self {
    case .integer(let value): UInt64(exactly: value)
    case .unsigned(let value): value
    default: nil
    }
  }

  /// libxl writes flags both as booleans and as 0 and 1.
  public var flag: Bool? {
    switch self {
    case .bool(let value): value
    case .integer(let value): value != 0
    default: nil
    }
  }
}

extension JSONValue: Codable {
  private static let maximumDepth = 64

  public init(from decoder: any Decoder) throws {
    guard decoder.codingPath.count <= Self.maximumDepth else { throw XLConfigError.notJSON }
    let container = try decoder.singleValueContainer()
    if container.decodeNil() {
      self = .null
    } else if let value = try? container.decode(String.self) {
      self = .string(value)
    } else if let value = try? container.decode(Bool.self) {
      self = .bool(value)
    } else if let value = try? container.decode(Int64.self) {
      self = .integer(value)
    } else if let value = try? container.decode(UInt64.self) {
      self = .unsigned(value)
    } else if let value = try? container.decode(Double.self) {
      self = .number(value)
    } else if let value = try? container.decode([JSONValue].self) {
      self = .array(value)
    } else {
      self = .object(try container.decode([String: JSONValue].self))
    }
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    switch self {
    case .null: try container.encodeNil()
    case .bool(let value): try container.encode(value)
    case .integer(let value): try container.encode(value)
    case .unsigned(let value): try container.encode(value)
    case .number(let value): try container.encode(value)
    case .string(let value): try container.encode(value)
    case .array(let value): try container.encode(value)
    case .object(let value): try container.encode(value)
    }
  }
}
