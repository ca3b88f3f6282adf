import ControlAPI
import Hummingbird
import NIOCore
import NIOPosix

/// What is known of a request besides its content.
struct ControlContext: RequestContext {
  var coreContext: CoreRequestContextStorage
  let channel: any Channel
  /// Set once it was let in.
  var peer: Peer?

  init(source: ApplicationRequestContextSource) {
    coreContext = .init(source: source)
    channel = source.channel
  }

  /// Far above any request of ours.
  var maxUploadSize: Int { 256 << 10 }
  var origin: String { peer.map { "uid \($0.uid)" } ?? "unknown" }
}

/// Asks the kernel who it is. The socket's mode keeps others away already; a mode can be changed, and descriptors passed on.
struct AdmissionMiddleware: RouterMiddleware {
  let admission: Admission

  func handle(
    _ request: Request, context: ControlContext, next: (Request, ControlContext) async throws -> Response
  ) async throws -> Response {
    let channel = context.channel
    let peer = try await channel.eventLoop.submit {
      try channel.pipeline.syncOperations.withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) { Peer(of: $0) }
        .flatMap { $0 }
    }.get()
    guard let peer, admission.admits(peer) else {
      let who = peer.map { "user \($0.uid)" } ?? "an unknown user"
      throw Refusal(
        .forbidden, "\(who) may not use ckptd; be root, or a member of the group \(ListeningSocket.group)")
    }
    var context = context
    context.peer = peer
    return try await next(request, context)
  }
}
