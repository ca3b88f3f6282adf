import CXXHash
import FoundationEssentials
import Glibc

/// The manifest as bytes: one JSON object, keys sorted, whose last member is the checksum of all bytes
/// before it. The tail has a fixed form and length, so every byte of the file is either hashed or known.
enum ManifestFile {
  /// Far above any real manifest; bounds what a damaged file can make us read.
  static let sizeLimit: UInt64 = 1 << 20
  private static let tailStart = ",\n  \"checksum\" : \""
  private static let tailEnd = "\"\n}\n"
  private static let tailBytes = 38

  static func encode(_ manifest: EpochManifest) throws(StoreError) -> [UInt8] {
    try sealed(manifest, name: "manifest of epoch \(manifest.epoch)")
  }

  /// Any value that makes a JSON object, with its checksum.
  static func sealed(_ value: some Encodable, name: String) throws(StoreError) -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    var bytes: [UInt8]
    do { bytes = Array(try encoder.encode(value)) } catch {
      throw .invalid("the \(name) has a number that JSON cannot hold")
    }
    // Opened again: the checksum follows as the last member.
    precondition(bytes.suffix(2) == Array("\n}".utf8)[...], "JSONEncoder ends an object with a line of its own")
    bytes.removeLast(2)
    bytes = seal(bytes)
    guard bytes.count <= sizeLimit else { throw .invalid("the \(name) is larger than 1 MiB") }
    return bytes
  }

  /// Closes an object that was left open, with the checksum of what there is as its last member.
  static func seal(_ open: [UInt8]) -> [UInt8] {
    open + Array((tailStart + hexadecimal(hash(open)) + tailEnd).utf8)
  }

  /// True when the bytes end with the checksum of those before it.
  static func isSealed(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard bytes.count > tailBytes, let start = bytes.baseAddress else { return false }
    let tail = tailStart + hexadecimal(XXH3_64bits(start, bytes.count - tailBytes)) + tailEnd
    return tail.utf8.elementsEqual(bytes.suffix(tailBytes))
  }

  /// The object without its checksum, which is right.
  static func unseal(_ bytes: [UInt8], path: String) throws(StoreError) -> Data {
    guard bytes.count > tailBytes else { throw .damaged(path: path, what: "it is too short") }
    guard bytes.withUnsafeBytes(isSealed) else { throw .damaged(path: path, what: "its checksum does not match") }
    return Data(bytes.dropLast(tailBytes) + Array("\n}".utf8))
  }

  static func decode(_ bytes: [UInt8], path: String) throws(StoreError) -> EpochManifest {
    let json = try unseal(bytes, path: path)
    let decoder = JSONDecoder()
    do {
      let version = try decoder.decode(Version.self, from: json).format
      guard version == EpochFormat.version else { throw StoreError.otherFormat(path: path, version: version) }
      return try decoder.decode(EpochManifest.self, from: json)
    } catch let error as StoreError {
      throw error
    } catch {
      throw .damaged(path: path, what: "it is not a manifest")
    }
  }

  /// Reads and checks the manifest of `epoch` in a folder.
  static func read(_ path: String, uuid: String, epoch: Int) throws(StoreError) -> EpochManifest {
    let file = try StoreFile.open(path, O_RDONLY)
    let size = try file.regularSize()
    guard size <= sizeLimit else { throw .damaged(path: path, what: "it is larger than 1 MiB") }
    let manifest = try decode(try file.read(count: Int(size), at: 0), path: path)
    guard manifest.uuid == uuid, manifest.epoch == epoch, manifest.file == EpochName.file(epoch) else {
      throw .damaged(path: path, what: "it belongs to epoch \(manifest.epoch) of \(manifest.uuid)")
    }
    return manifest
  }

  /// Only this is read before the version is known: the rest may have another shape then.
  private struct Version: Decodable { let format: Int }

  static func hash(_ bytes: [UInt8]) -> UInt64 {
    bytes.withUnsafeBytes { XXH3_64bits($0.baseAddress, $0.count) }
  }

  /// 16 lower-case hex digits.
  static func hexadecimal(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }
}

/// Names of an epoch's files in the guest's folder.
enum EpochName {
  /// What follows the number.
  enum Suffix: String, CaseIterable {
    case file = ".epoch"
    case manifest = ".json"
    case marks = ".marks"
    case verdict = ".verified"
    case partialFile = ".epoch.partial"
    case partialManifest = ".json.partial"
    case partialMarks = ".marks.partial"
    case partialVerdict = ".verified.partial"

    var isPartial: Bool {
      switch self {
      case .file, .manifest, .marks, .verdict: false
      case .partialFile, .partialManifest, .partialMarks, .partialVerdict: true
      }
    }
  }

  static func of(_ epoch: Int, _ suffix: Suffix) -> String { epoch.padded(digits) + suffix.rawValue }
  static func file(_ epoch: Int) -> String { of(epoch, .file) }
  static func manifest(_ epoch: Int) -> String { of(epoch, .manifest) }
  static func marks(_ epoch: Int) -> String { of(epoch, .marks) }
  static func verdict(_ epoch: Int) -> String { of(epoch, .verdict) }
  static let partial = ".partial"

  /// At least so many, so that names sort as numbers do.
  private static let digits = 8
  private static let suffixes = Suffix.allCases.map { (text: Array($0.rawValue.utf8), suffix: $0) }

  /// The epoch that a name belongs to, with what follows the number; nil for names that are not ours. Works on bytes, because a
  /// folder can have tens of thousands.
  static func parse(_ name: UnsafeRawBufferPointer) -> (epoch: Int, suffix: Suffix)? {
    var epoch = 0
    var length = 0
    while length < name.count, UInt8(ascii: "0")...UInt8(ascii: "9") ~= name[length] {
      epoch = epoch * 10 + Int(name[length] - UInt8(ascii: "0"))
      length += 1
      guard epoch <= EpochFormat.epochLimit else { return nil }
    }
    // One spelling for each number.
    guard epoch > 0, length == digits || (length > digits && name[0] != UInt8(ascii: "0")) else { return nil }
    let rest = UnsafeRawBufferPointer(rebasing: name[length...])
    guard let known = suffixes.first(where: { $0.text.elementsEqual(rest) }) else { return nil }
    return (epoch, known.suffix)
  }
}
