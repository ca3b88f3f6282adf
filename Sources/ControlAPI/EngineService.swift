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
  private let configuration: @Sendable () -> Configuration
  /// Of an engine that stays.
  private let memories: ResidentMemories?
  private let observer: (any TakeObserver)?

  /// - Parameters:
  ///   - memories: what is kept of guests from take to take; nil for a process that ends with its work.
  ///   - observer: hears of every take of a guest that is there.
  public init(
    _ engine: Engine, memories: ResidentMemories? = nil, observer: (any TakeObserver)? = nil,
    configuration: @escaping @Sendable () -> Configuration = { Configuration() }
  ) {
    self.engine = engine
    self.memories = memories
    self.observer = observer
    self.configuration = configuration
  }

  public func take(_ request: TakeRequest, _ call: Call) throws -> EpochManifest {
    let configuration = configuration()
    var (borrowed, guest): (String?, String?)
    defer { if let borrowed { memories?.giveBack(borrowed) } }
    let manifest = try engine.take(
      request.guest,
      options: { name in
        guest = name
        var options = configuration.options(for: name)
        if let rate = request.limitRate { options.bytesPerSecond = rate }
        options.timeoutSeconds = request.timeoutSeconds
        if let seconds = request.maxPauseSeconds { options.mostPauseSeconds = seconds }
        return options
      },
      memory: { uuid in
        guard let memories else { return TakeMemory() }
        let memory = try memories.borrow(uuid)
        borrowed = uuid
        return memory
      }, cancellation: call.cancellation,
      report: { event in
        if let guest { observer?.observe(event, of: guest) }
        switch event {
        case .phase(let phase): call.report(.phase(phase.rawValue))
        case .round(let round): call.report(.round(round))
        case .note(let text): call.report(.note(text))
        // It is thrown as well.
        case .failed: break
        }
      })
    observer?.observe(manifest)
    return manifest
  }

  public func restore(_ request: RestoreRequest, _ call: Call) throws -> RestoreAnswer {
    let restore = try engine.restore(request.guest, epoch: request.epoch) { call.report(.step($0)) }
    try restore.prepare()
    let manifest = restore.manifest
    if request.yes != true {
      try call.confirm(
        RestoreQuestion(
          guest: manifest.guest, epoch: request.epoch, time: manifest.time, domain: restore.running?.id))
    }
    try call.mayGoOn()
    // Xen keeps a destroyed domain, and libxl its backends, for as long as its memory is mapped.
    memories?.forget(manifest.uuid)
    let outcome = try restore.perform(start: request.disksOnly != true)
    return RestoreAnswer(
      guest: manifest.guest, uuid: manifest.uuid, epoch: request.epoch, domain: outcome.domain,
      steps: outcome.steps.map { .init(name: $0.name, ms: $0.milliseconds) })
  }

  public func recover(_ request: RecoverRequest, _ call: Call) throws -> RecoverAnswer {
    let recovery = try engine.recover(request.guest)
    return RecoverAnswer(
      devices: recovery.devices,
      guests: recovery.guests.map { .init(guest: $0.name, domain: $0.domain, outcome: .init($0.outcome)) },
      logs: recovery.logs, swept: recovery.swept, failures: recovery.failures)
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

  public func mark(_ request: MarkRequest, _ call: Call) throws -> EpochMarks {
    try engine.mark(request.guest, epoch: request.epoch) { marks in
      let tags = Set(marks.tags).union(request.tag ?? []).subtracting(request.untag ?? [])
      return try EpochMarks(pinned: request.pin ?? marks.pinned, tags: Array(tags))
    }
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
