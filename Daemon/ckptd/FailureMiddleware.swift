import Checkpoint
import ControlAPI
import Hummingbird
import Logging
import NIOCore
import NIOHTTP1

/// An answer with an HTTP status that the engine's exit statuses do not tell.
struct Refusal: Error {
  let status: HTTPResponse.Status
  let failure: ControlFailure

  init(_ status: HTTPResponse.Status, _ message: String) {
    self.status = status
    failure = ControlFailure(message: message, status: .failed)
  }
}

/// Errors as the API has them: `{"error": {"message": …, "status": …}}`.
struct FailureMiddleware: RouterMiddleware {
  func handle(
    _ request: Request, context: ControlContext, next: (Request, ControlContext) async throws -> Response
  ) async throws -> Response {
    do { return try await next(request, context) } catch let refusal as Refusal {
      return try .json(ControlFailureBody(refusal.failure), status: refusal.status)
    } catch let error as HTTPError {
      let what = error.body ?? (error.status == .notFound ? "no such path: \(request.uri.path)" : "\(error.status)")
      return try .json(ControlFailureBody(ControlFailure(message: what, status: .failed)), status: error.status)
    } catch let error as HTTPParserError {
      throw error
    } catch {
      let failure = ControlFailure(error)
      return try .json(ControlFailureBody(failure), status: .init(failure.exitStatus))
    }
  }
}

extension HTTPResponse.Status {
  fileprivate init(_ status: ExitStatus) {
    self =
      switch status {
      case .notFound: .notFound
      case .locked, .interrupted: .conflict
      case .badConfiguration: .badRequest
      case .failed, .partlyDone: .internalServerError
      }
  }
}

extension Response {
  static func json(_ value: some Encodable, status: HTTPResponse.Status = .ok) throws -> Response {
    Response(
      status: status, headers: [.contentType: "application/json"],
      body: .init(byteBuffer: ByteBuffer(bytes: try ControlJSON.encode(value) + Array("\n".utf8))))
  }
}
