import CXen
import Glibc

/// Waits for domains to end.
public final class DomainWatch {
  private let store: XenStore

  /// - Throws: ``XenError/unreachable(service:errno:)``, ``XenError/store(operation:path:errno:)``.
  public init() throws(XenError) {
    store = try XenStore(isBounded: false)
    // xenstored's own event (docs/misc/xenstore.txt): a domain was shut down, suspended, or is gone.
    guard xs_watch(store.handle, "@releaseDomain", "ckpt") else {
      throw .store(operation: "watch", path: "@releaseDomain", errno: errno)
    }
  }

  /// Waits, for as long as it takes, until some domain ended or was suspended. The first call returns at once.
  ///
  /// - Returns: false when xenstored does not answer any more.
  public func next() -> Bool {
    var count: UInt32 = 0
    guard let event = xs_read_watch(store.handle, &count) else { return false }
    free(event)
    return true
  }
}
