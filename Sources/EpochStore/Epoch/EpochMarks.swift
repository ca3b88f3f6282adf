import FoundationEssentials
import Glibc

/// What people say of an epoch after it was published: a file of its own beside the manifest, which never changes.
public struct EpochMarks: Codable, Hashable, Sendable {
  /// No policy removes the epoch.
  public var pinned: Bool
  /// Words for `--keep-tag`, sorted, each once.
  public private(set) var tags: [String]
  /// What somebody wanted to be known of it, in one line; nil when nobody did.
  public private(set) var note: String?

  /// - Parameter note: an empty one is none.
  /// - Throws: `invalid` for a tag that is not 1 to 64 of `a-z A-Z 0-9 . _ -`, for more than 64, and for a note that is not one
  ///   line of at most 1000 bytes.
  public init(pinned: Bool = false, tags: [String] = [], note: String? = nil) throws(StoreError) {
    let sorted = Set(tags).sorted()
    for tag in sorted where !Self.isTag(tag) {
      throw .invalid("'\(tag.prefix(64))' is no tag; use 1 to 64 letters, digits, '.', '_' or '-'")
    }
    guard sorted.count <= 64 else { throw .invalid("an epoch can have 64 tags, not \(sorted.count)") }
    if let note {
      guard note.utf8.count <= Self.noteLimit else {
        throw .invalid("a note has at most \(Self.noteLimit) bytes, not \(note.utf8.count)")
      }
      guard !note.unicodeScalars.contains(where: { $0.properties.generalCategory == .control }) else {
        throw .invalid("a note is one line, without control characters")
      }
    }
    (self.pinned, self.tags, self.note) = (pinned, sorted, note?.isEmpty == true ? nil : note)
  }

  /// These marks and a tag more.
  ///
  /// - Throws: `invalid` also for a tag that could not be told from another name of an epoch.
  public func adding(tag: String) throws(StoreError) -> EpochMarks {
    if let confusion = EpochReference.confusion(of: tag) { throw .invalid("no tag can be called so: \(confusion)") }
    return try EpochMarks(pinned: pinned, tags: tags + [tag], note: note)
  }

  /// These marks with another note; an empty one is none.
  ///
  /// - Throws: `invalid` also for characters that turn the direction of text. A note that was written before they were refused is read.
  public func noting(_ note: String) throws(StoreError) -> EpochMarks {
    guard !note.unicodeScalars.contains(where: Self.steers) else {
      throw .invalid("a note is one line, without control characters and direction marks")
    }
    return try EpochMarks(pinned: pinned, tags: tags, note: note)
  }

  /// An epoch of which nothing was said.
  public static let unmarked = EpochMarks()
  private init() { (pinned, tags, note) = (false, [], nil) }

  private static let noteLimit = 1000

  /// Whether a character ends the line, or makes the rest of it look like what it is not.
  private static func steers(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x200e...0x200f, 0x2028...0x202e, 0x2066...0x2069: true
    default: scalar.properties.generalCategory == .control
    }
  }

  static func isTag(_ text: String) -> Bool {
    let others = Array("._-".utf8)
    return 1...64 ~= text.utf8.count
      && text.utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
          UInt8(ascii: "0")...UInt8(ascii: "9"):
          true
        default: others.contains(byte)
        }
      }
  }

  /// Far above any real file of marks.
  fileprivate static let sizeLimit: UInt64 = 64 << 10

  fileprivate var encoded: [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
    guard let data = try? encoder.encode(self) else { preconditionFailure("a flag and words always encode") }
    return Array(data) + Array("\n".utf8)
  }

  fileprivate init(_ bytes: [UInt8], path: String) throws(StoreError) {
    guard let read = try? JSONDecoder().decode(EpochMarks.self, from: Data(bytes)),
      let checked = try? EpochMarks(pinned: read.pinned, tags: read.tags, note: read.note)
    else { throw .damaged(marks: path) }
    self = checked
  }
}

extension GuestFolder {
  /// The marks of an epoch; none when nobody made any.
  ///
  /// - Throws: `damaged` when they cannot be read. Until somebody sets them anew, the epoch counts as pinned.
  public func marks(_ epoch: Int) throws(StoreError) -> EpochMarks {
    let path = path + "/" + EpochName.marks(epoch)
    let file: StoreFile
    do { file = try StoreFile.open(path, O_RDONLY) } catch {
      if case .system(_, _, ENOENT) = error { return .unmarked }
      throw error
    }
    let size = try file.regularSize()
    guard size <= EpochMarks.sizeLimit else { throw .damaged(marks: path) }
    return try EpochMarks(try file.read(count: Int(size), at: 0), path: path)
  }

  /// Sets the marks of a published epoch, in place of those it had. The caller holds the exclusive lock.
  ///
  /// - Throws: `notFound` when there is no such epoch.
  public func setMarks(_ marks: EpochMarks, of epoch: Int) throws(StoreError) {
    guard try StoreName.exists(path + "/" + EpochName.manifest(epoch)) else {
      throw .notFound("epoch \(epoch) of guest \(uuid)")
    }
    let target = path + "/" + EpochName.marks(epoch)
    if marks == .unmarked {
      if try StoreName.remove(target) { try StoreName.syncFolder(path) }
    } else {
      try SpaceReserve(of: self).whenFull { () throws(StoreError) in
        try self.publish(bytes: marks.encoded, as: target)
      }
    }
  }
}

extension StoreError {
  fileprivate static func damaged(marks path: String) -> StoreError {
    .damaged(path: path, what: "it does not tell pin, tags and note, so the epoch counts as pinned; set them anew")
  }
}
