import ControlAPI
import Hummingbird
import NIOCore

/// An answer of lines, newline-delimited JSON, as long as the work takes; its connection ends with it.
struct StreamedAnswer<Answer: Codable & Sendable>: Sendable {
  private let operation: Operation
  private let lines: AsyncStream<ControlLine<Answer>>
  /// A client that goes away wants the work given up.
  private let cancels: Bool

  init(_ operation: Operation, _ lines: AsyncStream<ControlLine<Answer>>, cancels: Bool) {
    (self.operation, self.lines, self.cancels) = (operation, lines, cancels)
  }

  func response(to request: RequestBody) -> Response {
    Response(
      status: .ok, headers: [.contentType: "application/x-ndjson", .connection: "close"],
      body: ResponseBody { writer in
        do {
          // To notice that the client has gone, somebody must read.
          try await request.consumeWithInboundCloseHandler { _ in
            for await line in lines {
              try await writer.write(ByteBuffer(bytes: try ControlJSON.encode(line) + Array("\n".utf8)))
            }
          } onInboundClosed: {
            clientLeft()
          }
        } catch {
          clientLeft()
          throw error
        }
        try await writer.finish(nil)
      })
  }

  private func clientLeft() {
    if cancels { operation.cancel() }
    // Nobody is left who could say yes.
    operation.answer(false)
  }
}
