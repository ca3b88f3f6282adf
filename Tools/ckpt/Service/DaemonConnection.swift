import Checkpoint
import ControlAPI
import Dispatch
import Glibc
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// What keeps the command from the daemon.
enum DaemonError: ErrorWithStatus, CustomStringConvertible {
  case nobodyThere(String)
  case notAllowed(String)
  case cannotConnect(String, String)
  /// It took the connection, and said nothing for so many seconds.
  case silent(String, seconds: Double)
  /// The connection ended before the work did.
  case lost(String)

  var exitStatus: ExitStatus {
    if case .notAllowed = self { .badConfiguration } else { .failed }
  }

  var description: String {
    switch self {
    case .nobodyThere(let path):
      "no ckptd answers on \(path); start it (systemctl start ckptd), or say `CKPT_SOCKET= ckpt …` to work without it"
    case .notAllowed(let path): "no permission for \(path); be root, or a member of the group ckpt"
    case .cannotConnect(let path, let why): "cannot reach ckptd on \(path): \(why)"
    case .silent(let path, let seconds):
      "ckptd does not answer on \(path) within \(seconds) s; see what it does (systemctl status ckptd), or start it anew "
        + "(systemctl restart ckptd)"
    case .lost(let path):
      "ckptd on \(path) went away before it was done; whatever it took is in its log (journalctl -u ckptd); if it was killed, "
        + "it ends what it left when it is started again"
    }
  }
}

/// One connection to the daemon for one request. Calls block.
struct DaemonConnection {
  private static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
  private let socket: String
  private let channel: any Channel
  private let inbox: Inbox

  /// - Parameter patience: seconds within which all of the answer must have come.
  /// - Throws: ``DaemonError``.
  init(_ socket: String, patience: Double = .infinity) throws {
    self.socket = socket
    let inbox = Inbox(socket, patience: patience)
    self.inbox = inbox
    do {
      channel = try ClientBootstrap(group: Self.group)
        .channelInitializer { channel in
          channel.pipeline.addHTTPClientHandlers().flatMapThrowing {
            try channel.pipeline.syncOperations.addHandler(ReplyHandler(inbox))
          }
        }.connect(unixDomainSocketPath: socket).wait()
    } catch let error as IOError {
      switch error.errnoCode {
      case ECONNREFUSED, ENOENT: throw DaemonError.nobodyThere(socket)
      case EACCES, EPERM: throw DaemonError.notAllowed(socket)
      default: throw DaemonError.cannotConnect(socket, String(cString: strerror(error.errnoCode)))
      }
    } catch { throw DaemonError.cannotConnect(socket, "\(error)") }
  }

  /// Sends a request and waits for the head of its answer.
  func ask(_ method: String, _ path: String, _ body: [UInt8] = []) throws -> Reply {
    let head = HTTPRequestHead(
      version: .http1_1, method: .RAW(value: method), uri: path,
      headers: ["host": "ckptd", "content-type": "application/json", "content-length": "\(body.count)"])
    channel.write(HTTPClientRequestPart.head(head), promise: nil)
    channel.write(HTTPClientRequestPart.body(.byteBuffer(ByteBuffer(bytes: body))), promise: nil)
    channel.writeAndFlush(HTTPClientRequestPart.end(nil), promise: nil)
    guard case .head(let status)? = try inbox.next() else { throw DaemonError.lost(socket) }
    return Reply(status: status, channel: channel, inbox: inbox)
  }

  /// An answer: its status, then its lines.
  final class Reply {
    let status: Int
    private let channel: any Channel
    private let inbox: Inbox
    private var bytes: [UInt8] = []
    private var isOver = false

    fileprivate init(status: Int, channel: any Channel, inbox: Inbox) {
      (self.status, self.channel, self.inbox) = (status, channel, inbox)
    }

    deinit { channel.close(promise: nil) }

    /// The next line; nil after the last one.
    func line() throws -> [UInt8]? {
      while true {
        if let end = bytes.firstIndex(of: UInt8(ascii: "\n")) {
          defer { bytes.removeSubrange(...end) }
          return Array(bytes[..<end])
        }
        guard !isOver, case .body(let more)? = try inbox.next() else {
          isOver = true
          defer { bytes = [] }
          return bytes.isEmpty ? nil : bytes
        }
        bytes += more
      }
    }
  }
}

/// What has come and was not read yet.
private final class Inbox: Sendable {
  enum Part {
    case head(Int)
    case body([UInt8])
  }

  private let state = Mutex((parts: [Part](), isClosed: false))
  private let filled = DispatchSemaphore(value: 0)
  private let socket: String
  private let patience: Double
  private let end: DispatchTime

  init(_ socket: String, patience: Double) {
    (self.socket, self.patience) = (socket, patience)
    end = patience.isFinite ? .now() + patience : .distantFuture
  }

  func put(_ part: Part) {
    state.withLock { $0.parts.append(part) }
    filled.signal()
  }

  func close() {
    state.withLock { $0.isClosed = true }
    filled.signal()
  }

  /// Waits for it; nil when nothing more comes.
  ///
  /// - Throws: ``DaemonError/silent(_:seconds:)``.
  func next() throws -> Part? {
    while true {
      let (part, isClosed) = state.withLock { state in
        (state.parts.isEmpty ? nil : state.parts.removeFirst(), state.isClosed)
      }
      if let part { return part }
      if isClosed { return nil }
      guard filled.wait(timeout: end) == .success else { throw DaemonError.silent(socket, seconds: patience) }
    }
  }
}

/// Puts the parts of the answer into the inbox.
private final class ReplyHandler: ChannelInboundHandler, Sendable {
  typealias InboundIn = HTTPClientResponsePart
  private let inbox: Inbox

  init(_ inbox: Inbox) { self.inbox = inbox }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head(let head): inbox.put(.head(Int(head.status.code)))
    case .body(let bytes): inbox.put(.body(Array(bytes.readableBytesView)))
    case .end: inbox.close()
    }
  }

  func channelInactive(context: ChannelHandlerContext) { inbox.close() }

  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
