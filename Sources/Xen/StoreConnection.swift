import CXen
import Glibc
import Synchronization

/// Connections to xenstored by libxenstore, which knows no limit for an answer and tells no descriptor of its own.
enum StoreConnection {
  /// xenstored answers in milliseconds. But oxenstored lets whoever wrote to a node that a guest watches wait until the guest has read of it:
  /// a guest that hangs, or means harm, and has some thousand events to read would keep us waiting for ever.
  static let answerSeconds = 15

  /// Held while connections come and go, so that a new one is known by what was not there before.
  private static let sockets = Mutex<Void>(())

  /// - Parameter isBounded: false for a connection that waits for events.
  /// - Throws: ``XenError/unreachable(service:errno:)``.
  static func open(isBounded: Bool) throws(XenError) -> OpaquePointer {
    let opened = sockets.withLock { _ in
      let before = connected()
      guard let handle = xs_open(0) else { return (handle: 0, code: errno) }
      let ours = connected().subtracting(before)
      guard !ours.isEmpty else {
        // It took the kernel's own connection, on which calls wait for a daemon that does not run, for ever.
        xs_close(handle)
        return (handle: 0, code: ENOENT)
      }
      if isBounded { ours.forEach(bound) }
      return (handle: Int(bitPattern: handle), code: 0)
    }
    guard let handle = OpaquePointer(bitPattern: opened.handle) else {
      throw .unreachable(service: "xenstore", errno: opened.code)
    }
    return handle
  }

  static func close(_ handle: OpaquePointer) {
    nonisolated(unsafe) let handle = handle
    sockets.withLock { _ in xs_close(handle) }
  }

  /// Descriptors of this process that lead to xenstored.
  private static func connected() -> Set<Int32> {
    guard let folder = opendir("/proc/self/fd") else { return [] }
    defer { closedir(folder) }
    var found: Set<Int32> = []
    while let entry = readdir(folder) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if let number = Int32(name), leadsToStore(number) { found.insert(number) }
    }
    return found
  }

  private static func leadsToStore(_ descriptor: Int32) -> Bool {
    var address = sockaddr_un()
    var length = socklen_t(MemoryLayout<sockaddr_un>.size)
    let isSocket = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getpeername(descriptor, $0, &length) == 0 }
    }
    guard isSocket, Int32(address.sun_family) == AF_UNIX else { return false }
    return withUnsafeBytes(of: address.sun_path) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      .hasSuffix("/xenstored/socket")
  }

  private static func bound(_ descriptor: Int32) {
    var limit = timeval(tv_sec: answerSeconds, tv_usec: 0)
    for side in [SO_RCVTIMEO, SO_SNDTIMEO] {
      setsockopt(descriptor, SOL_SOCKET, side, &limit, socklen_t(MemoryLayout<timeval>.size))
    }
  }
}
