/// Keys as they stand in the file.
private struct AnyKey: CodingKey {
  let stringValue: String
  var intValue: Int? { nil }
  init(stringValue: String) { self.stringValue = stringValue }
  init?(intValue: Int) { return nil }
}

extension Decoder {
  /// The members of an object, which may have no others than the type knows.
  func strict<Key: CodingKey & CaseIterable>(_: Key.Type) throws -> KeyedDecodingContainer<Key> {
    let known = Key.allCases.map(\.stringValue)
    let present = try container(keyedBy: AnyKey.self).allKeys.map(\.stringValue)
    if let unknown = present.sorted().first(where: { !known.contains($0) }) {
      throw refusal("unknown key '\(unknown.prefix(64))'; known: \(known.joined(separator: ", "))")
    }
    return try container(keyedBy: Key.self)
  }

  /// What is wrong with the object that is being read.
  func refusal(_ what: String) -> DecodingError {
    .dataCorrupted(.init(codingPath: codingPath, debugDescription: what))
  }
}

extension KeyedDecodingContainer {
  /// A member that is a text with a meaning.
  func text<Value>(_ key: Key, _ wanted: String, _ read: (String) -> Value?) throws -> Value? {
    guard let text = try decodeIfPresent(String.self, forKey: key) else { return nil }
    guard let value = read(text) else {
      throw DecodingError.dataCorruptedError(
        forKey: key, in: self, debugDescription: "'\(text.prefix(64))' is no \(wanted)")
    }
    return value
  }
}

extension ScheduleError {
  /// A reader's complaint, with the place in the file.
  init(_ error: any Error, in path: String) {
    guard let error = error as? DecodingError else {
      self = error as? ScheduleError ?? .badFile(path: path, place: "", what: "\(error)")
      return
    }
    let (context, what): (DecodingError.Context, String) =
      switch error {
      case .keyNotFound(let key, let context): (context, "there is no '\(key.stringValue)'")
      case .typeMismatch(_, let context), .valueNotFound(_, let context): (context, context.debugDescription)
      case .dataCorrupted(let context): (context, context.debugDescription)
      @unknown default: (.init(codingPath: [], debugDescription: ""), "\(error)")
      }
    let place = context.codingPath.reduce("") { path, key in
      key.intValue.map { "\(path)[\($0)]" } ?? (path.isEmpty ? key.stringValue : "\(path).\(key.stringValue)")
    }
    self = .badFile(path: path, place: place, what: what.replacing("\n", with: " "))
  }
}
