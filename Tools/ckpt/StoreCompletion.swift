import ArgumentParser
import Checkpoint

/// Names in the store, as a shell asks for them. None where the store cannot be read.
extension CompletionKind {
  /// The guests that run or have epochs.
  static var guests: CompletionKind {
    .custom { _, _, _ in (try? engine.status())?.guests.map { GuestWord.of(name: $0.name, uuid: $0.uuid) } ?? [] }
  }

  static var pools: CompletionKind {
    .custom { _, _, _ in engine.poolNames }
  }

  private static var engine: Engine { Engine(storePath: environment("CKPT_STORE") ?? Engine.defaultStore) }
}

enum GuestWord {
  /// What stands for a guest in a shell: its name, or its uuid where we would give nobody that name. bash expands each word that it is
  /// offered (compgen -W), as root: `$(…)` in the name of a guest that was imported would run. zsh parts words at `:`.
  static func of(name: String, uuid: String) -> String {
    do { try GuestName.check(name) } catch { return uuid }
    return name
  }
}
