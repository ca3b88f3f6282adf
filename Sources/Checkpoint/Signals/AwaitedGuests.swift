import EpochStore
import Synchronization

/// Guests that somebody counts on, though the store may know nothing of them: those with a schedule. Until they have a folder,
/// their rows of failures are remembered here, as long as the process lives. Any thread.
public final class AwaitedGuests: Sendable {
  private let isAwaited: @Sendable (_ name: String) -> Bool
  private let streaks = Mutex<[String: TakeStreak]>([:])

  /// - Parameter isAwaited: asked when a take finds no guest of this name.
  public init(_ isAwaited: @escaping @Sendable (_ name: String) -> Bool = { _ in false }) { self.isAwaited = isAwaited }

  func contains(_ name: String) -> Bool { isAwaited(name) }

  func streak(of name: String) -> TakeStreak { streaks.withLock { $0[name] ?? TakeStreak() } }

  /// Remembers nothing of a guest that nobody counts on.
  func keep(_ streak: TakeStreak, of name: String) {
    guard isAwaited(name) else { return }
    streaks.withLock { $0[name] = streak }
  }

  /// Forgets a guest's row.
  ///
  /// - Returns: nil when there was none.
  func remove(_ name: String) -> TakeStreak? { streaks.withLock { $0.removeValue(forKey: name) } }
}
