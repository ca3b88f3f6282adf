import EpochStore
import FoundationEssentials
import Glibc

/// `<store>/pools/NAME`: the catalogue and the lock.
struct PoolFolder: Sendable {
  private let store: String
  let name: String
  let path: String

  init(store: String, name: String) {
    (self.store, self.name) = (store, name)
    path = "\(store)/pools/\(name)"
  }

  private var file: String { "\(path)/catalog.json" }
  private var parent: String { String(path.dropLast(name.count + 1)) }
  var exists: Bool { access(file, F_OK) == 0 }

  /// The pools of a store, by their folders.
  static func all(store: String) -> [PoolFolder] {
    HostFiles.names(in: "\(store)/pools").filter { !$0.hasPrefix(".") }.sorted()
      .map { PoolFolder(store: store, name: $0) }.filter(\.exists)
  }

  /// Makes the folder, mode 0700, with its parents inside the store.
  func make() throws {
    for folder in [parent, path] where mkdir(folder, 0o700) != 0 && errno != EEXIST {
      throw PoolError.io(operation: "create", path: folder, errno: errno)
    }
    try DurableFile.syncFolder(parent)
  }

  func removeCatalog() { unlink(file) }

  /// Removes the folder with what is ours in it, the catalogue first: without it there is no pool. The caller holds the lock.
  func remove() throws {
    for file in ["catalog.json", "catalog.json.new", "metadata-snapshot", "release", "lock"].map({ "\(path)/\($0)" }) {
      guard unlink(file) == 0 || errno == ENOENT else {
        throw PoolError.io(operation: "remove", path: file, errno: errno)
      }
    }
    // A file of somebody else keeps the folder, and makes no pool of it.
    rmdir(path)
    try DurableFile.syncFolder(parent)
  }

  func load() throws -> PoolCatalog {
    guard exists else { throw PoolError.unknown(pool: name) }
    let bytes = try DurableFile.read(file)
    var catalog: PoolCatalog
    do { catalog = try JSONDecoder().decode(PoolCatalog.self, from: Data(bytes)) } catch {
      throw PoolError.damaged(path: file, why: "not a catalogue: \(error)")
    }
    let known = PoolCatalog.currentFormat...PoolCatalog.formatWithClonesOfAdopted
    guard known.contains(catalog.format) else {
      throw PoolError.damaged(
        path: file, why: "format \(catalog.format) is not \(known.lowerBound) to \(known.upperBound)")
    }
    catalog.format = PoolCatalog.currentFormat
    guard catalog.name == name else {
      throw PoolError.damaged(path: file, why: "it is of pool \(catalog.name)")
    }
    if let nonsense = catalog.nonsense { throw PoolError.damaged(path: file, why: nonsense) }
    return catalog
  }

  /// On a full file system, too: epochs are removed by it, and a guest may be between its end and its start.
  func save(_ catalog: PoolCatalog) throws {
    var catalog = catalog
    if catalog.holdsOrigins { catalog.format = PoolCatalog.formatWithOrigins }
    if catalog.holdsPassedOrigins { catalog.format = PoolCatalog.formatWithPassedOrigins }
    if catalog.holdsClonesOfAdopted { catalog.format = PoolCatalog.formatWithClonesOfAdopted }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    let bytes = [UInt8](try encoder.encode(catalog))
    try SpaceReserve(store: store).lend { try DurableFile.replace(file, with: bytes) }
  }

  /// - Parameters:
  ///   - wait: seconds to wait for another holder before `PoolError.locked`.
  ///   - mayGoOn: called again and again meanwhile; ends the wait by throwing.
  func lock(wait: Double, _ mayGoOn: () throws -> Void = {}) throws -> PoolLock {
    try PoolLock("\(path)/lock", pool: name, wait: wait, mayGoOn)
  }
}

extension SpaceReserve {
  /// Makes a change of a pool's files, and once more with the reserve given back when the file system was full.
  func lend<Result>(_ change: () throws -> Result) throws -> Result {
    do { return try change() } catch PoolError.io(_, _, let code) where [ENOSPC, EDQUOT].contains(code) && release() {
      defer { fill() }
      return try change()
    }
  }
}

/// An flock on a pool's folder: held while the catalogue may change; it dies with the process.
final class PoolLock: Sendable {
  private let descriptor: Int32

  fileprivate init(_ path: String, pool: String, wait: Double, _ mayGoOn: () throws -> Void) throws {
    descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard descriptor >= 0 else { throw PoolError.io(operation: "open", path: path, errno: errno) }
    try takeFlock(descriptor, path, pool: pool, wait: wait, mayGoOn)
    var status = stat()
    // The pool was removed while we waited: who comes next makes another file, and would have a lock as well.
    guard fstat(descriptor, &status) == 0, status.st_nlink > 0 else { throw PoolError.locked(pool: pool) }
  }

  deinit {
    guard descriptor >= 0 else { return }
    // Not by the close alone: a child that is just being started has the descriptor as well, until it becomes its program.
    flock(descriptor, LOCK_UN)
    close(descriptor)
  }
}

/// Takes the flock of an open file, as ``PoolFolder/lock(wait:_:)`` does.
func takeFlock(_ descriptor: Int32, _ path: String, pool: String, wait: Double, _ mayGoOn: () throws -> Void) throws {
  let step: UInt32 = 20_000
  var left = wait * 1_000_000
  while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
    switch errno {
    case EINTR: continue
    case EWOULDBLOCK where left > 0:
      try mayGoOn()
      usleep(step)
      left -= Double(step)
    case EWOULDBLOCK: throw PoolError.locked(pool: pool)
    default: throw PoolError.io(operation: "lock", path: path, errno: errno)
    }
  }
}
