import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOExtras
import NIOPosix
import ServiceLifecycle

/// HTTP on a socket that is there already: hummingbird's own server only binds new ones, and one that systemd passes must be taken.
struct ControlServer: Service {
  let socket: ListeningSocket
  let responder: RouterResponder<ControlContext>
  let logger: Logger
  /// Called when the first request can be answered.
  let whenReady: @Sendable () -> Void

  func run() async throws {
    // The engine's threads do the work; one thread reads and writes.
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    do { try await serve(on: group) } catch {
      try await group.shutdownGracefully()
      throw error
    }
    try await group.shutdownGracefully()
  }

  private func serve(on group: MultiThreadedEventLoopGroup) async throws {
    let http = HTTP1Channel(
      responder: { [responder, logger] request, writer, channel in
        let context = ControlContext(source: .init(channel: channel, logger: logger))
        let response = try await responder.respond(to: request, context: context)
        try await writer.write(response: response.head, body: response.body)
      }, configuration: .init(idleTimeout: .minutes(10)))
    let quiescing = ServerQuiescingHelper(group: group)
    let listener = try await ServerBootstrap(group: group)
      .serverChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(quiescing.makeServerChannelHandler(channel: channel))
        }
      }
      // A client that has said all it has to say may close its half.
      .childChannelOption(.allowRemoteHalfClosure, value: true)
      .bind(socket.descriptor) { [logger] channel in http.setup(channel: channel, logger: logger) }
    whenReady()
    try await withGracefulShutdownHandler {
      try await withThrowingDiscardingTaskGroup { connections in
        try await listener.executeThenClose { inbound in
          for try await connection in inbound {
            connections.addTask { [logger] in await http.handle(value: connection, logger: logger) }
          }
        }
      }
    } onGracefulShutdown: {
      // The name goes first: who comes now finds nobody, rather than somebody who leaves.
      socket.remove()
      quiescing.initiateShutdown(promise: nil)
    }
  }
}
