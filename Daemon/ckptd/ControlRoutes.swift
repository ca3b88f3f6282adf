import Checkpoint
import ControlAPI
import EpochStore
import Glibc
import Hummingbird
import NIOCore
import Signals

/// The paths of the API, and what is done for each.
struct ControlRoutes: Sendable {
  let operations: Operations
  let configuration: CurrentConfiguration
  let store: String
  let admission: Admission
  /// Has the file of schedules looked at now.
  private let reloadSchedules: @Sendable () -> Void
  /// What Prometheus reads.
  private let metrics: @Sendable () async throws -> String
  /// What is wrong with the schedules; nil when nothing is.
  private let scheduleProblem: @Sendable () -> String?
  private let started = EpochTime.now

  init(
    operations: Operations, configuration: CurrentConfiguration, store: String, admission: Admission,
    metrics: @escaping @Sendable () async throws -> String, scheduleProblem: @escaping @Sendable () -> String?,
    reloadSchedules: @escaping @Sendable () -> Void
  ) {
    self.metrics = metrics
    self.scheduleProblem = scheduleProblem
    self.reloadSchedules = reloadSchedules
    self.operations = operations
    self.configuration = configuration
    self.store = store
    self.admission = admission
  }

  func responder() -> RouterResponder<ControlContext> {
    let router = Router(context: ControlContext.self)
    router.add(middleware: FailureMiddleware())
    router.add(middleware: AdmissionMiddleware(admission: admission))
    stream(TakeRequest.self, on: router)
    stream(RestoreRequest.self, on: router)
    stream(UndoRequest.self, on: router)
    stream(RecoverRequest.self, on: router)
    stream(VerifyRequest.self, on: router)
    stream(PruneRequest.self, on: router)
    stream(RemoveRequest.self, on: router)
    answer(PrunePlanRequest.self, on: router)
    answer(MarkRequest.self, on: router)
    answer(RenameRequest.self, on: router)
    router.get(RouterPath(ControlPath.status.rawValue)) { _, _ in try Response.json(status) }
    router.post(RouterPath(ControlPath.reload.rawValue)) { _, _ in
      defer { reloadSchedules() }
      return try Response.json(configuration.reload())
    }
    router.post(RouterPath(ControlPath.reloadSchedules.rawValue)) { _, _ in
      reloadSchedules()
      return try Response.json(status)
    }
    router.get("/metrics") { _, _ in
      let text = try await metrics()
      return Response(
        status: .ok, headers: [.contentType: PrometheusText.contentType],
        body: .init(byteBuffer: ByteBuffer(string: text)))
    }
    addOperations(to: router)
    return router.buildResponder()
  }

  private var status: DaemonStatus {
    DaemonStatus(
      pid: getpid(), store: store, config: configuration.usedPath, started: started, isEnding: operations.isEnding,
      operations: operations.running.map(\.status), scheduleProblem: scheduleProblem())
  }

  private func addOperations(to router: Router<ControlContext>) {
    router.get(RouterPath(ControlPath.operations.rawValue)) { _, _ in
      try Response.json(operations.running.map(\.status))
    }
    router.delete(RouterPath(ControlPath.operation("{id}"))) { _, context in
      let operation = try operation(context)
      operation.cancel()
      return try Response.json(operation.status)
    }
    router.post(RouterPath(ControlPath.answer("{id}"))) { request, context in
      let operation = try operation(context)
      let answer: OperationAnswer = try await value(of: request, context).value
      guard operation.answer(answer.yes) else {
        throw Refusal(.conflict, "operation \(operation.id), \(operation.title), has asked nothing")
      }
      return try Response.json(operation.status)
    }
  }

  private func operation(_ context: ControlContext) throws -> Operation {
    let id = try context.parameters.require("id")
    guard let operation = operations.find(id) else { throw Refusal(.notFound, "no operation \(id) is running") }
    return operation
  }

  /// What can take its time: lines, as the work goes on.
  private func stream<Wanted: ControlRequest>(_: Wanted.Type, on router: Router<ControlContext>) {
    router.post(RouterPath(Wanted.path.rawValue)) { request, context in
      let (asked, body): (AskedRequest<Wanted>, RequestBody) = try await value(of: request, context)
      try check(asked.expects)
      let (operation, lines) = try operations.begin(asked.request, by: context.origin)
      return StreamedAnswer(operation, lines, cancels: asked.cancelOnDisconnect == true).response(to: body)
    }
  }

  /// What is done at once: one JSON value.
  private func answer<Wanted: ControlRequest>(_: Wanted.Type, on router: Router<ControlContext>) {
    router.post(RouterPath(Wanted.path.rawValue)) { request, context in
      let asked: AskedRequest<Wanted> = try await value(of: request, context).value
      try check(asked.expects)
      return try Response.json(try await operations.run(asked.request, by: context.origin))
    }
  }

  private func value<Value: Decodable>(
    of request: Request, _ context: ControlContext
  ) async throws -> (value: Value, body: RequestBody) {
    var request = request
    let bytes: ByteBuffer
    do { bytes = try await request.collectBody(upTo: context.maxUploadSize) } catch is NIOTooManyBytesError {
      throw Refusal(.contentTooLarge, "the request is larger than \(context.maxUploadSize >> 10) KiB")
    }
    return (try ControlJSON.decode(Value.self, from: bytes.readableBytesView), request.body)
  }

  private func check(_ expected: Expectation?) throws {
    if let other = expected?.store, !Path.areSame(other, store) {
      throw ControlFailure(
        message:
          "ckptd works on the store \(store), not on \(other); say `CKPT_SOCKET= ckpt …` to work on that one without "
          + "the daemon", status: .badConfiguration)
    }
    if let other = expected?.config, !Path.areSame(other, configuration.path) {
      throw ControlFailure(
        message: "ckptd has its configuration from \(configuration.path), not from \(other); change that one and run "
          + "`ckpt config reload`, or say `CKPT_SOCKET= ckpt …` to work without the daemon", status: .badConfiguration)
    }
  }
}
