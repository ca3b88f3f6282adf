import Checkpoint
import FoundationEssentials

/// JSON as it goes over the socket: one line, no escaped slashes.
public enum ControlJSON {
  public static func encode(_ value: some Encodable) throws -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return Array(try encoder.encode(value))
  }

  /// - Throws: ``ControlFailure`` that says which value is wrong.
  public static func decode<Value: Decodable>(_ type: Value.Type, from bytes: some Sequence<UInt8>) throws -> Value {
    do { return try JSONDecoder().decode(type, from: Data(bytes)) } catch let error as DecodingError {
      throw ControlFailure(message: "the JSON is not what is wanted: \(text(of: error))", status: .badConfiguration)
    }
  }

  private static func text(of error: DecodingError) -> String {
    switch error {
    case .keyNotFound(let key, _): "'\(key.stringValue)' is missing"
    case .dataCorrupted(let context) where !context.codingPath.isEmpty:
      "'\(path(context))': \(context.debugDescription)"
    case .typeMismatch(_, let context), .valueNotFound(_, let context), .dataCorrupted(let context):
      context.codingPath.isEmpty
        ? "it is no JSON object" : "'\(path(context))' has a wrong value"
    @unknown default: "it cannot be read"
    }
  }

  private static func path(_ context: DecodingError.Context) -> String {
    context.codingPath.map(\.stringValue).joined(separator: ".")
  }
}
