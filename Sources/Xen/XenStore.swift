import CXen
import Glibc

/// A connection to xenstore, the small shared tree through which dom0 and guests find each other.
///
/// Values under a guest's own nodes are written by the guest: they are arbitrary bytes of up to 4096 bytes
/// (XENSTORE_PAYLOAD_MAX) and come back as text only if they are valid UTF-8. That text may hold line ends and escapes: a
/// message quotes it as ``Printable``.
public final class XenStore: @unchecked Sendable {
  let handle: OpaquePointer

  /// - Throws: ``XenError/unreachable(service:errno:)``.
  public init() throws(XenError) {
    guard let handle = xs_open(0) else { throw .unreachable(service: "xenstore", errno: errno) }
    self.handle = handle
  }

  deinit { xs_close(handle) }

  /// The text of a node, or nil when it is absent or not text.
  public func read(_ path: String, in transaction: XenStoreTransaction? = nil) -> String? {
    var length: UInt32 = 0
    guard let bytes = xs_read(handle, transaction?.id ?? 0, path, &length) else { return nil }
    defer { free(bytes) }
    return String(validating: UnsafeRawBufferPointer(start: bytes, count: Int(min(length, 4096))), as: UTF8.self)
  }

  /// Names below a node; empty when it is absent.
  public func list(_ path: String) -> [String] {
    var count: UInt32 = 0
    guard let names = xs_directory(handle, 0, path, &count) else { return [] }
    defer { free(names) }
    return (0..<Int(count)).compactMap { names[$0].map { String(cString: $0) } }
  }

  /// - Throws: ``XenError/store(operation:path:errno:)``.
  public func write(_ path: String, _ value: String, in transaction: XenStoreTransaction? = nil) throws(XenError) {
    guard xs_write(handle, transaction?.id ?? 0, path, value, UInt32(value.utf8.count)) else {
      throw .store(operation: "write", path: path, errno: errno)
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
      guard id != 0 else { throw .store(operation: "transaction", path: path, errno: errno) }
      let result: Result
      do throws(XenError) { result = try body(XenStoreTransaction(id: id)) } catch {
        _ = xs_transaction_end(handle, id, true)
        throw error
      }
      if xs_transaction_end(handle, id, false) { return result }
      guard errno == EAGAIN else { throw .store(operation: "transaction", path: path, errno: errno) }
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
      throw .store(operation: "mkdir", path: path, errno: errno)
    }
  }

  /// The name of a domain, as `xl list` shows it.
  public func name(of domain: UInt32, in transaction: XenStoreTransaction? = nil) -> String? {
    read("/local/domain/\(domain)/name", in: transaction)
  }

  /// Forgets that the domain was seen shut down, so that xenstored announces its next shutdown again.
  ///
  /// Needed after every resume: C xenstored fires `@releaseDomain` once per domain until told (XS_RESUME).
  /// - Throws: ``XenError/store(operation:path:errno:)``; the guest already runs.
  public func resumed(domain: UInt32) throws(XenError) {
    guard xs_resume_domain(handle, domain) else {
      throw .store(operation: "resume", path: "/local/domain/\(domain)", errno: errno)
    }
  }
}

/// A running transaction; only its own reads and writes see each other.
public struct XenStoreTransaction {
  let id: UInt32
}
