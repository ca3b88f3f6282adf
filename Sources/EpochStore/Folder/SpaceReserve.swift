import Glibc

/// The file `reserve` of a store: space that nobody uses until the file system is full. Removing epochs then still works, on file
/// systems that need space to free some, and for the small files that are written on the way.
public struct SpaceReserve: Sendable {
  /// Bytes set aside.
  static let bytes: UInt64 = 4 << 20

  private let path: String

  public init(store: String) { path = store + "/reserve" }

  init(of folder: GuestFolder) { self.init(store: folder.storePath) }

  /// Makes the reserve when it is missing and there is room. Failing is no error: there is none then, as before.
  public func fill() {
    // One without its blocks, from a crash or a copy of the store, is made anew.
    var status = stat()
    if lstat(path, &status) == 0, UInt64(status.st_blocks) * 512 >= Self.bytes { return }
    guard let file = try? StoreFile.open(path, O_WRONLY | O_CREAT) else { return }
    if (try? file.reserve(Self.bytes)) == nil { release() }
  }

  /// Gives the reserve back to the file system.
  ///
  /// - Returns: false when there was none.
  @discardableResult
  public func release() -> Bool { (try? StoreName.remove(path)) ?? false }

  /// Runs `body`, and once more with the reserve given back when the file system was full. `body` must not mind to be run twice.
  func whenFull<Value>(_ body: () throws(StoreError) -> Value) throws(StoreError) -> Value {
    do { return try body() } catch {
      guard error.isFull, release() else { throw error }
      return try body()
    }
  }
}

extension StoreError {
  /// The file system, or the owner's share of it, is used up.
  var isFull: Bool {
    switch self {
    case .full, .system(_, _, ENOSPC), .system(_, _, EDQUOT): true
    default: false
    }
  }
}
