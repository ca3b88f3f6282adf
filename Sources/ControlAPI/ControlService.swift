public import Checkpoint
public import EpochStore

/// Everything that can be asked for: of the engine in this process (``EngineService``), or of the one behind a socket.
///
/// Calls take as long as the work; they block their thread.
public protocol ControlService: Sendable {
  func take(_ request: TakeRequest, _ call: Call) throws -> EpochManifest
  func restore(_ request: RestoreRequest, _ call: Call) throws -> RestoreAnswer
  func undo(_ request: UndoRequest, _ call: Call) throws -> RestoreAnswer
  func recover(_ request: RecoverRequest, _ call: Call) throws -> RecoverAnswer
  func verify(_ request: VerifyRequest, _ call: Call) throws -> [VerifiedAnswer]
  func planPrune(_ request: PrunePlanRequest, _ call: Call) throws -> [PrunePlanAnswer]
  func prune(_ request: PruneRequest, _ call: Call) throws -> PruneAnswer
  func mark(_ request: MarkRequest, _ call: Call) throws -> MarkAnswer
  func rename(_ request: RenameRequest, _ call: Call) throws -> RenameAnswer
  func remove(_ request: RemoveRequest, _ call: Call) throws -> RemoveAnswer
}

/// What a piece of work hears and says while it is done.
public struct Call: Sendable {
  /// Tells it to stop.
  public let cancellation: TakeCancellation
  /// Called on any thread, outside a guest's pause.
  public let report: @Sendable (ControlEvent) -> Void
  /// Asks whether a restore may destroy what runs; throws when not, and when there is no answer within ``answerSeconds``.
  public let confirm: @Sendable (RestorePlan) throws -> Void
  /// Called before what is done to the end whatever it is told.
  public let begins: @Sendable () -> Void

  public init(
    cancellation: TakeCancellation = TakeCancellation(), report: @escaping @Sendable (ControlEvent) -> Void = { _ in },
    confirm: @escaping @Sendable (RestorePlan) throws -> Void = { _ in }, begins: @escaping @Sendable () -> Void = {}
  ) {
    self.cancellation = cancellation
    self.report = report
    self.confirm = confirm
    self.begins = begins
  }

  /// Seconds within which a question is answered, else the answer is no: takes of the guest are kept out meanwhile.
  public static let answerSeconds = 120.0

  /// - Throws: ``CheckpointError/interrupted``.
  public func mayGoOn() throws { if cancellation.isCancelled { throw CheckpointError.interrupted } }
}
