import Glibc
import Logging

/// What keeps the daemon from its socket.
enum SocketError: Error, Equatable, CustomStringConvertible {
  /// A daemon that lives, or systemd on its behalf, listens there; it was left alone.
  case taken(String)
  /// Something that is no socket has the name; it was left alone.
  case notASocket(String)
  case badPath(String)
  case badActivation(String)
  case system(operation: String, path: String, errno: Int32)

  var description: String {
    switch self {
    case .taken(let path):
      "another ckptd, or systemd for it, answers on \(path); stop it first (systemctl stop ckptd.socket ckptd), or "
        + "name another socket with --socket"
    case .notASocket(let path): "\(path) is no socket; nothing was changed; move it away or name another with --socket"
    case .badPath(let path): "'\(path)' is no path for a socket: it has 1 to 107 bytes"
    case .badActivation(let what): "systemd passed \(what); ckptd.socket must have one ListenStream and nothing else"
    case .system(let operation, let path, let number):
      "cannot \(operation) \(path): \(String(cString: strerror(number)))"
    }
  }
}

/// The socket on which the daemon listens. Whoever may open it may ask; who asks is looked at once more (``Peer``).
struct ListeningSocket {
  let descriptor: Int32
  let path: String
  /// We made the file, and remove it.
  let isOwn: Bool

  /// The group whose members may ask.
  static let group = "ckpt"

  /// The one socket that systemd made.
  static func passed(_ count: Int) throws(SocketError) -> ListeningSocket {
    guard count == 1 else { throw .badActivation("\(count) sockets") }
    let descriptor = Manager.firstSocket
    var isListening: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    guard getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &isListening, &length) == 0, isListening == 1 else {
      throw .badActivation("something that does not listen")
    }
    var address = sockaddr_un()
    length = socklen_t(MemoryLayout<sockaddr_un>.size)
    let isKnown = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
    }
    guard isKnown == 0, address.sun_family == sa_family_t(AF_UNIX) else { throw .badActivation("no Unix socket") }
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    let path = withUnsafeBytes(of: address.sun_path) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    return ListeningSocket(descriptor: descriptor, path: path, isOwn: false)
  }

  /// Makes the socket: 0660, root and the group ckpt. One that a dead daemon left is replaced.
  static func bound(to path: String, logger: Logger) throws(SocketError) -> ListeningSocket {
    guard path.hasPrefix("@") == false, var address = UnixAddress(path) else { throw .badPath(path) }
    try clear(path, &address, logger)
    try makeFolder(of: path)
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw .system(operation: "open a socket for", path: path, errno: errno) }
    // Nobody else may connect, not even for a moment.
    let mask = umask(0o177)
    let isBound = address.withSockaddr { bind(descriptor, $0, $1) }
    let code = errno
    umask(mask)
    guard isBound == 0, listen(descriptor, 128) == 0 else {
      close(descriptor)
      throw .system(operation: "listen on", path: path, errno: code)
    }
    if let group = Peer.group(named: ListeningSocket.group) {
      if chown(path, geteuid(), group) == 0 { chmod(path, 0o660) }
    } else {
      logger.warning("there is no group '\(ListeningSocket.group)' on this host: only root can use \(path)")
    }
    return ListeningSocket(descriptor: descriptor, path: path, isOwn: true)
  }

  /// A socket's file stays when its daemon is killed: only whether somebody answers tells.
  private static func clear(_ path: String, _ address: inout UnixAddress, _ logger: Logger) throws(SocketError) {
    var status = stat()
    guard lstat(path, &status) == 0 else { return }
    guard status.st_mode & S_IFMT == S_IFSOCK else { throw .notASocket(path) }
    let probe = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
    defer { close(probe) }
    // A full queue (EAGAIN) belongs to a daemon that is busy.
    let isRefused = address.withSockaddr { connect(probe, $0, $1) } != 0 && errno == ECONNREFUSED
    guard isRefused else { throw .taken(path) }
    guard unlink(path) == 0 else { throw .system(operation: "remove the old socket", path: path, errno: errno) }
    logger.notice("\(path) was left by a ckptd that is dead; it is replaced")
  }

  private static func makeFolder(of path: String) throws(SocketError) {
    guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return }
    let folder = String(path[..<slash])
    guard mkdir(folder, 0o755) == 0 || errno == EEXIST else {
      throw .system(operation: "make", path: folder, errno: errno)
    }
  }

  func remove() { if isOwn { unlink(path) } }
}
