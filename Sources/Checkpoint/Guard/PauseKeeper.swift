/// The engine's word to whoever lets the guest go when the engine cannot: a process of its own, or a script in unit tests.
///
/// Called in this order; `prolong`, `release`, `resumed` and `released` only after `asked`.
public protocol PauseKeeper: AnyObject, Sendable {
  /// Waits until it can do its work.
  ///
  /// - Throws: why it cannot; the guest must not be asked.
  func awaitReady() throws
  /// The guest is about to be asked to suspend. Held for longer than
  /// `seconds` from now on, it may be taken away from the engine.
  ///
  /// - Throws: when there is no keeper any more; the guest must not be asked.
  func asked(seconds: Double) throws
  /// The guest, which is held, is to be held on for `seconds` from now, or longer. False: the keeper has taken the guest.
  func prolong(seconds: Double) -> Bool
  /// Asks for the right to let the guest go. False: the keeper has taken the guest; the engine must not touch it any more.
  func release() -> Bool
  /// It has taken the guest away from the engine.
  var hasTaken: Bool { get }
  /// The guest was let go: it runs, and nothing that was asked of it is open any more.
  func resumed()
  /// The guest was not suspended, as far as the engine knows.
  func released()
  /// The take is over.
  ///
  /// - Parameter calm: the guest runs and nothing is left to do; else the keeper looks after it at once.
  func dismiss(calm: Bool)
}
