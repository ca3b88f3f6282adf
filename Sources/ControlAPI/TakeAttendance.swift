import Checkpoint

/// What is lent to one take, and who hears of it.
final class TakeAttendance {
  private let memories: ResidentMemories?
  private let observer: (any TakeObserver)?
  private let configuration: Configuration
  private let call: Call
  /// The guest's name, as soon as it is known.
  private var guest: String?
  private var borrowed: String?

  init(_ service: EngineService, _ call: Call) {
    (memories, observer, self.call) = (service.memories, service.observer, call)
    configuration = service.configuration()
  }

  func options(_ name: String) -> TakeOptions {
    guest = name
    return configuration.options(for: name)
  }

  func memory(_ uuid: String) throws -> TakeMemory {
    guard let memories else { return TakeMemory() }
    let memory = try memories.borrow(uuid)
    borrowed = uuid
    return memory
  }

  func report(_ event: TakeEvent) {
    if let guest { observer?.observe(event, of: guest) }
    switch event {
    case .phase(let phase): call.report(.phase(phase.rawValue))
    case .round(let round): call.report(.round(round))
    case .note(let text): call.report(.note(text))
    // It is thrown as well.
    case .failed: break
    }
  }

  func end() { if let borrowed { memories?.giveBack(borrowed) } }
}
