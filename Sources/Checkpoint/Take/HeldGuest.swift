import Xen

/// A guest that stands suspended after its epoch because it is not to run again: it is about to go back to an older one. So nothing
/// that it did is missing in that epoch.
///
/// The limit of the pause and the guard watch over it as before, with more time: when the engine dies, or does not get on, it runs.
public final class HeldGuest {
  /// For the last pages to be written, and the domain to be destroyed.
  static let mostSeconds = 60.0

  private let guest: any Guest
  private let keeper: (any PauseKeeper)?
  private let limit: PauseLimit
  private let report: (TakeEvent) -> Void
  private let startHook: () throws(HookError) -> RunningHook?
  private var hook: RunningHook?
  private var isOver = false

  /// - Parameter startHook: begins the hook after the pause.
  init(
    _ guest: any Guest, _ keeper: (any PauseKeeper)?, _ limit: PauseLimit, _ report: @escaping (TakeEvent) -> Void,
    startHook: @escaping () throws(HookError) -> RunningHook?
  ) {
    (self.guest, self.keeper, self.limit, self.report, self.startHook) = (guest, keeper, limit, report, startHook)
  }

  deinit { try? letGo() }

  /// It has stood still since its epoch; false when it took too long, or something else let it go.
  public var standsStill: Bool { !isOver && !wasLetGo && guest.presence == .suspended }

  /// The limit or the guard has let it go.
  public var wasLetGo: Bool { limit.hasPassed || keeper?.hasTaken == true }

  /// Gives it as long again to be destroyed in, where it has stood still until now.
  ///
  /// - Returns: false when it has not: what it did since is not in its epoch.
  public func holdOn() -> Bool { standsStill && limit.prolong(seconds: Self.mostSeconds) && standsStill }

  /// It is not destroyed after all, and runs on. Nothing happens when it is gone, or was let go before.
  ///
  /// - Throws: `XenError.resumeFailed`; the guard tries once more.
  public func letGo() throws {
    guard !isOver else { return }
    guard guest.presence != .gone else { return wasDestroyed() }
    do { try limit.end() } catch {
      finish(calm: false)
      throw error
    }
    finish(calm: !guest.mayStillSuspend)
    beginHook()
  }

  /// Its domain is gone.
  public func wasDestroyed() {
    guard !isOver else { return }
    limit.forget()
    finish(calm: true)
    beginHook()
  }

  private func finish(calm: Bool) {
    isOver = true
    guest.disarm()
    keeper?.dismiss(calm: calm)
  }

  private func beginHook() {
    do throws(HookError) { hook = try startHook() } catch { report(.note("\(error)")) }
  }

  /// Waits for the hook after the pause, which runs beside whatever comes after the guest's end.
  public func awaitHook() {
    if let failure = hook?.finish({}) { report(.note("\(failure)")) }
    hook = nil
  }
}
