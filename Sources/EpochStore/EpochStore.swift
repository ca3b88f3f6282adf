import Glibc

/// The folder that holds epochs: one folder per guest, named by its uuid.
public struct EpochStore: Sendable {
  public let path: String

  /// Processors of this host, at most eight: more threads only wait for the memory.
  public static var processors: Int { max(1, min(8, sysconf(Int32(_SC_NPROCESSORS_ONLN)))) }

  /// Opens the store; the folder is created (mode 0700) when it is missing, its parent must exist.
  public init(path: String) throws(StoreError) {
    var path = path
    while path.count > 1, path.hasSuffix("/") { path.removeLast() }
    guard !path.isEmpty, !path.utf8.contains(0) else { throw .invalid("the store's path is empty") }
    self.path = path
    try StoreName.makeFolder(path, parent: Self.parent(of: path))
    _ = try StoreFile.open(path + "/", O_RDONLY | O_DIRECTORY)
  }

  /// A guest's folder. With `create` it is made (mode 0700) when missing, without it that is `notFound`.
  public func folder(uuid: String, create: Bool) throws(StoreError) -> GuestFolder {
    let uuid = try Self.canonical(uuid: uuid)
    let folder = GuestFolder(uuid: uuid, path: path + "/" + uuid)
    if create { try StoreName.makeFolder(folder.path, parent: path) }
    do { _ = try StoreFile.open(folder.path, O_RDONLY | O_DIRECTORY) } catch {
      guard case .system(_, _, ENOENT) = error else { throw error }
      throw .notFound("guest \(uuid) in \(path)")
    }
    return folder
  }

  /// The folders of all guests, by uuid.
  public func folders() throws(StoreError) -> [GuestFolder] {
    try StoreName.list(path).filter(Self.isCanonical(uuid:)).sorted().map {
      GuestFolder(uuid: $0, path: path + "/" + $0)
    }
  }

  /// Every guest whose folder can be read, sorted by name, then uuid.
  public func guests() throws(StoreError) -> [GuestSummary] {
    let survey = try survey { folder throws(StoreError) in
      GuestSummary(folder: folder, overview: try folder.overview())
    }
    return survey.values.sorted { ($0.name, $0.uuid) < ($1.name, $1.uuid) }
  }

  /// The folder of a guest by uuid or name; nil when the store has none. A name that several guests bore
  /// belongs to the one with the newest epoch under that name.
  ///
  /// - Throws: what keeps a folder from being read, when the name is in no other.
  public func find(_ nameOrUUID: String) throws(StoreError) -> GuestFolder? {
    if let uuid = try? Self.canonical(uuid: nameOrUUID) {
      do { return try folder(uuid: uuid, create: false) } catch {
        guard case .notFound = error else { throw error }
      }
    }
    let survey = try survey { folder throws(StoreError) in (folder, try folder.newest(named: nameOrUUID)) }
    var best: (time: EpochTime, folder: GuestFolder)?
    for (folder, newest) in survey.values {
      guard let newest else { continue }
      if let known = best, known.time >= newest.time { continue }
      best = (newest.time, folder)
    }
    if best == nil, let unreadable = survey.unreadable.first { throw unreadable.error }
    return best?.folder
  }

  /// Other guests that are called so in their newest epoch, by its time, the newest first. Reads one manifest of each guest.
  public func namesakes(of name: String, besides uuid: String) throws(StoreError) -> [GuestFolder] {
    var found: [(time: EpochTime, folder: GuestFolder)] = []
    for folder in try folders() where folder.uuid != uuid {
      // One that cannot be read is not known to be called so.
      guard let newest = try? folder.newest(), newest.guest == name else { continue }
      found.append((newest.time, folder))
    }
    return found.sorted { $0.time > $1.time }.map { $0.folder }
  }

  /// Lower-case form of a uuid; anything else is `invalid`. A uuid becomes a folder's name, so nothing but
  /// digits and dashes may pass.
  static func canonical(uuid: String) throws(StoreError) -> String {
    let lower = uuid.lowercased()
    guard isCanonical(uuid: lower) else { throw .invalid("\"\(uuid.prefix(64))\" is not a uuid") }
    return lower
  }

  static func isCanonical(uuid: String) -> Bool {
    let bytes = Array(uuid.utf8)
    guard bytes.count == 36 else { return false }
    return bytes.indices.allSatisfy { index in
      switch index {
      case 8, 13, 18, 23: bytes[index] == UInt8(ascii: "-")
      default:
        UInt8(ascii: "0")...UInt8(ascii: "9") ~= bytes[index] || UInt8(ascii: "a")...UInt8(ascii: "f") ~= bytes[index]
      }
    }
  }

  /// The 16 bytes of a canonical uuid.
  static func bytes(ofUUID uuid: String) -> [UInt8] {
    let digits = uuid.utf8.compactMap { Character(UnicodeScalar($0)).hexDigitValue }
    return stride(from: 0, to: digits.count - 1, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
  }

  private static func parent(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }
}

/// One guest of a store at a glance.
public struct GuestSummary: Hashable, Sendable {
  public let uuid: String
  /// Name in the newest epoch; empty when the guest has none.
  public let name: String
  /// Number of epochs whose manifest can be read.
  public let epochs: Int
  /// Number and time of the newest epoch.
  public let newest: Int?
  public let newestTime: EpochTime?
  /// Bytes of all epoch files.
  public let bytes: UInt64
  /// Manifests that cannot be read.
  public let damaged: Int

  init(folder: GuestFolder, overview: EpochOverview) {
    uuid = folder.uuid
    name = overview.epochs.last?.guest ?? ""
    epochs = overview.epochs.count
    newest = overview.epochs.last?.epoch
    newestTime = overview.epochs.last?.time
    bytes = overview.epochs.reduce(0) { $0 &+ $1.bytes }
    damaged = overview.damaged.count
  }
}
