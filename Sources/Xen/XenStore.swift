import CXen
import Glibc

/// A connection to xenstore, the small shared tree through which dom0 and guests find each other.
///
/// Values under a guest's own nodes are written by the guest: they are arbitrary bytes of up to 4096 bytes
/// (XENSTORE_PAYLOAD_MAX) and come back as text only if they are valid UTF-8. That text may hold line ends and escapes: a
/// message quotes it as ``Printable``.
///
/// Every call here throws ``XenError/storeSilent(seconds:)`` when xenstored does not answer in time,
/// ``XenError/unreachable(service:errno:)`` when the connection was lost before, and ``XenError/store(operation:path:errno:)`` when
/// it refuses, or the connection is lost just now. A connection that was silent or lost once is of no use any more.
public final class XenStore: @unchecked Sendable {
  let handle: OpaquePointer

  /// - Parameter isBounded: false for a connection that waits for events.
  /// - Throws: ``XenError/unreachable(service:errno:)``.
  public init(isBounded: Bool = true) throws(XenError) {
    handle = try StoreConnection.open(isBounded: isBounded)
  }

  deinit { StoreConnection.close(handle) }

  /// libxenstore closes its socket when an answer is late (EAGAIN) or xenstored hung up, and has none from then on (EBADF).
  private static func failure(_ operation: String, _ path: String, _ code: Int32) -> XenError {
    switch code {
    case EAGAIN: .storeSilent(seconds: StoreConnection.answerSeconds)
    case EBADF: .unreachable(service: "xenstore", errno: ENOTCONN)
    default: .store(operation: operation, path: path, errno: code)
    }
  }

  /// The text of a node, or nil when it is absent or not text.
  public func read(_ path: String, in transaction: XenStoreTransaction? = nil) throws(XenError) -> String? {
    var length: UInt32 = 0
    guard let bytes = xs_read(handle, transaction?.id ?? 0, path, &length) else {
      let code = errno
      guard code == ENOENT else { throw XenStore.failure("read", path, code) }
      return nil
    }
    defer { free(bytes) }
    return String(validating: UnsafeRawBufferPointer(start: bytes, count: Int(min(length, 4096))), as: UTF8.self)
  }

  /// Names below a node; empty when it is absent.
  public func list(_ path: String) throws(XenError) -> [String] {
    var count: UInt32 = 0
    guard let names = xs_directory(handle, 0, path, &count) else {
      let code = errno
      guard code == ENOENT else { throw XenStore.failure("list", path, code) }
      return []
    }
    defer { free(names) }
    return (0..<Int(count)).compactMap { names[$0].map { String(cString: $0) } }
  }

  public func write(_ path: String, _ value: String, in transaction: XenStoreTransaction? = nil) throws(XenError) {
    guard xs_write(handle, transaction?.id ?? 0, path, value, UInt32(value.utf8.count)) else {
      throw XenStore.failure("write", path, errno)
    }
  }

  /// Runs `body` in a transaction, again when another writer was in the way (EAGAIN).
  ///
  /// - Throws: ``XenError/restless(path:)`` when there always was one.
  public func transaction<Result>(
    _ path: String, _ body: (XenStoreTransaction) throws(XenError) -> Result
  ) throws(XenError) -> Result {
    try XenStore.untilUndisturbed(path) { () throws(XenError) -> Result? in
      let id = xs_transaction_start(handle)
      guard id != 0 else { throw XenStore.failure("transaction", path, errno) }
      let result: Result
      do throws(XenError) { result = try body(XenStoreTransaction(id: id)) } catch {
        _ = xs_transaction_end(handle, id, true)
        throw error
      }
      let asked = ContinuousClock.now
      if xs_transaction_end(handle, id, false) { return result }
      let code = errno
      let isSilent = ContinuousClock.now >= asked + .seconds(StoreConnection.answerSeconds)
      guard code == EAGAIN, !isSilent else { throw XenStore.failure("transaction", path, code) }
      return nil
    }
  }

  /// Calls `attempt` until it has a result. Not for ever: a guest can write to its own nodes faster than a transaction of ours
  /// ends, and whoever waits for it waits for all other guests' sake as well.
  static func untilUndisturbed<Result>(
    _ path: String, _ attempt: () throws(XenError) -> Result?
  ) throws(XenError) -> Result {
    for _ in 0..<100 {
      if let result = try attempt() { return result }
    }
    throw .restless(path: path)
  }

  /// Makes a folder that nobody but dom0 can read; so is what is made in it from then on.
  func makePrivate(_ path: String, in transaction: XenStoreTransaction) throws(XenError) {
    var owner = xs_permissions(id: Hypervisor.ownDomain, perms: UInt32(XS_PERM_NONE))
    guard xs_mkdir(handle, transaction.id, path), xs_set_permissions(handle, transaction.id, path, &owner, 1) else {
      throw XenStore.failure("mkdir", path, errno)
    }
  }

  /// The name of a domain, as `xl list` shows it.
  public func name(of domain: UInt32, in transaction: XenStoreTransaction? = nil) throws(XenError) -> String? {
    try read("/local/domain/\(domain)/name", in: transaction)
  }

  /// What a message calls a domain: its name, where one can be read.
  public func label(of domain: UInt32) -> String { ((try? name(of: domain)) ?? nil) ?? "domain \(domain)" }

  /// Forgets that the domain was seen shut down, so that xenstored announces its next shutdown again.
  ///
  /// Needed after every resume: C xenstored fires `@releaseDomain` once per domain until told (XS_RESUME).
  /// The guest already runs when it throws.
  public func resumed(domain: UInt32) throws(XenError) {
    guard xs_resume_domain(handle, domain) else {
      throw XenStore.failure("resume", "/local/domain/\(domain)", errno)
    }
  }
}

/// A running transaction; only its own reads and writes see each other.
public struct XenStoreTransaction {
  let id: UInt32
}
