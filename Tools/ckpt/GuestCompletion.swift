import ArgumentParser
import Checkpoint

extension CompletionKind {
  /// The names of the guests that run or have epochs, as a shell asks for them. None where the store cannot be read.
  static var guests: CompletionKind {
    .custom { _, _, _ in
      let engine = Engine(storePath: environment("CKPT_STORE") ?? Engine.defaultStore)
      return (try? engine.status())?.guests.map(\.name) ?? []
    }
  }
}
