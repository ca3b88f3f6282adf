import ArgumentParser
import Checkpoint

/// Names in the store, as a shell asks for them. None where the store cannot be read.
extension CompletionKind {
  /// The guests that run or have epochs.
  static var guests: CompletionKind {
    .custom { _, _, _ in (try? engine.status())?.guests.map(\.name) ?? [] }
  }

  static var pools: CompletionKind {
    .custom { _, _, _ in engine.poolNames }
  }

  private static var engine: Engine { Engine(storePath: environment("CKPT_STORE") ?? Engine.defaultStore) }
}
