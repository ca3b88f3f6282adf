public import Checkpoint
public import EpochStore
import Xen

/// Somebody who counts what takes come to.
public protocol TakeObserver: Sendable {
  /// What a take of the guest tells while it works. Called on any thread.
  func observe(_ event: TakeEvent, of guest: String)
  /// A take made an epoch.
  func observe(_ manifest: EpochManifest)
}

/// The engine of this process, as the API sees it.
public struct EngineService: ControlService {
  public let engine: Engine
  /// Read when a take begins.
  let configuration: @Sendable () -> Configuration
  /// Of an engine that stays.
  let memories: ResidentMemories?
  let observer: (any TakeObserver)?
  /// Names or uuids of the guests that have a schedule.
  let scheduled: @Sendable () throws -> Set<String>

  /// - Parameters:
  ///   - memories: what is kept of guests from take to take; nil for a process that ends with its work.
  ///   - observer: hears of every take of a guest that is there, or should be: the store knows it, or somebody counts on it.
  ///   - scheduled: names or uuids of the guests that have a schedule: of those, something stays in the store.
  public init(
    _ engine: Engine, memories: ResidentMemories? = nil, observer: (any TakeObserver)? = nil,
    configuration: @escaping @Sendable () -> Configuration = { Configuration() },
    scheduled: @escaping @Sendable () throws -> Set<String> = { [] }
  ) {
    self.engine = engine
    self.scheduled = scheduled
    self.memories = memories
    self.observer = observer
    self.configuration = configuration
  }

  public func take(_ request: TakeRequest, _ call: Call) throws -> EpochManifest {
    let attendance = TakeAttendance(self, call)
    defer { attendance.end() }
    let manifest = try engine.take(
      request.guest, options: { request.applied(to: attendance.options($0)) }, memory: attendance.memory,
      cancellation: call.cancellation, report: attendance.report)
    observer?.observe(manifest)
    return manifest
  }

  public func recover(_ request: RecoverRequest, _ call: Call) throws -> RecoverAnswer {
    let recovery = try request.storeOnly == true ? engine.settle(request.guest) : engine.recover(request.guest)
    return RecoverAnswer(
      devices: recovery.devices,
      guests: recovery.guests.map { .init(guest: $0.name, domain: $0.domain, outcome: .init($0.outcome)) },
      logs: recovery.logs, swept: recovery.swept, failures: recovery.failures,
      unfinished: recovery.unfinished.map(\.description))
  }

  public func verify(_ request: VerifyRequest, _ call: Call) throws -> [VerifiedAnswer] {
    let epochs = try engine.verify(
      request.guest, epoch: request.epoch, method: request.method, cancellation: call.cancellation
    ) { event in
      switch event {
      case .reading(let guest, let epoch, let done, let total):
        call.report(.reading(guest: guest, epoch: epoch, done: done, total: total))
      case .verified(let epoch): call.report(.verified(VerifiedAnswer(epoch)))
      }
    }
    return epochs.map(VerifiedAnswer.init)
  }
}

extension RecoverAnswer.Outcome {
  fileprivate init(_ outcome: AbandonedSuspension.Outcome) {
    switch outcome {
    case .resumed: self = .resumed
    case .withdrawn: self = .withdrawn
    case .running: self = .running
    case .ended: self = .ended
    }
  }
}

extension VerifiedAnswer {
  fileprivate init(_ epoch: VerifiedEpoch) {
    switch epoch.outcome {
    case .success(let outcome):
      self.init(
        guest: epoch.guest, uuid: epoch.uuid, epoch: epoch.epoch, verdict: outcome.verdict,
        error: outcome.unkept?.description)
    case .failure(let error):
      self.init(
        guest: epoch.guest, uuid: epoch.uuid, epoch: epoch.epoch, verdict: nil, error: error.description)
    }
  }
}
