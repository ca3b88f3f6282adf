import Glibc
import Xen

/// The moments of a take at which a program of the configuration can run. Raw values: `CKPT_HOOK` in its environment.
enum Hook: String {
  case before, pause, after, failed, notify

  /// Its key in the configuration.
  var key: String { self == .notify ? "notify-command" : "hook-\(rawValue)" }
}

/// The hooks of one take.
public struct TakeHooks {
  let settings: HookSettings
  /// What every hook is told.
  private let about: [String: String]

  /// No hooks.
  public init() { (settings, about) = (HookSettings(), [:]) }

  /// - Parameters:
  ///   - uuid: nil when it is not known.
  ///   - domain: today's number of the guest; nil when it is not there.
  ///   - store: its folder.
  public init(_ settings: HookSettings, guest: String, uuid: String?, domain: UInt32?, store: String) {
    self.settings = settings
    var about = ["CKPT_GUEST": guest, "CKPT_STORE": store]
    about["CKPT_UUID"] = uuid
    about["CKPT_DOMID"] = domain.map { String($0) }
    self.about = about
  }

  /// For what is told of the store, and of no guest.
  init(_ settings: HookSettings, store: String) { (self.settings, about) = (settings, ["CKPT_STORE": store]) }

  /// The whole environment of a hook. Nothing of ours is passed on, so that a hook does the same under a service and a shell.
  ///
  /// - Parameter more: of this moment.
  func environment(_ hook: Hook, phase: Phase?, _ more: [String: String]) -> [String: String] {
    var result = about.merging(more) { _, new in new }
    result["CKPT_HOOK"] = hook.rawValue
    if let phase { result["CKPT_PHASE"] = phase.rawValue }
    // Names come from xenstore and words from tools: one line each, and of a length that exec takes.
    result = result.mapValues {
      String(String.UnicodeScalarView($0.unicodeScalars.prefix(4000).map { Printable.isInvisible($0) ? " " : $0 }))
    }
    result["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return result
  }

  /// Runs the hook before the guest is touched.
  ///
  /// - Throws: ``HookError``, or what `mayGoOn` throws: the program was killed then.
  func runBefore(epoch: Int, _ mayGoOn: () throws -> Void) throws {
    guard let program = settings.before else { return }
    let hook = try start(.before, program, environment(.before, phase: .reserve, ["CKPT_EPOCH": String(epoch)]))
    if let failure = try hook.finish(mayGoOn) { throw failure }
  }

  /// The hook in the pause, ready to be let go; nil when there is none.
  func preparePause(epoch: Int) throws(HookError) -> PauseHook? {
    guard let program = settings.pause else { return nil }
    return try PauseHook(
      program, seconds: settings.pauseSeconds,
      environment: environment(.pause, phase: .copy, ["CKPT_EPOCH": String(epoch)]))
  }

  /// Begins the hook after the pause; nil when there is none.
  func startAfter(epoch: Int, pauseMs: Double, stopMs: Double) throws(HookError) -> RunningHook? {
    guard let program = settings.after else { return nil }
    return try start(
      .after, program,
      environment(
        .after, phase: .write,
        ["CKPT_EPOCH": String(epoch), "CKPT_PAUSE_MS": String(pauseMs), "CKPT_STOP_MS": String(stopMs)]))
  }

  /// Runs the hook for a take that failed.
  ///
  /// - Returns: what was wrong with the hook.
  func runFailed(epoch: Int?, phase: Phase, error: any Error) -> HookError? {
    guard let program = settings.failed else { return nil }
    var more = ["CKPT_ERROR": "\(error)"]
    more["CKPT_EPOCH"] = epoch.map { String($0) }
    return run(.failed, program, phase: phase, more)
  }

  /// Runs a program to its end.
  ///
  /// - Returns: what was wrong with it.
  func run(_ hook: Hook, _ program: HookProgram, phase: Phase?, _ more: [String: String]) -> HookError? {
    do throws(HookError) {
      return try start(hook, program, environment(hook, phase: phase, more)).finish {}
    } catch {
      return error
    }
  }

  /// Runs the command for notifications about something that is no take.
  ///
  /// - Parameter mayGoOn: what it throws ends the command.
  /// - Returns: what was wrong with it.
  func notify(
    _ command: HookProgram, _ more: [String: String], _ mayGoOn: () throws -> Void
  ) rethrows -> HookError? {
    let running: RunningHook
    do throws(HookError) {
      running = try start(.notify, command, environment(.notify, phase: nil, more))
    } catch {
      return error
    }
    return try running.finish(mayGoOn)
  }

  private func start(_ hook: Hook, _ program: HookProgram, _ environment: [String: String]) throws(HookError)
    -> RunningHook
  {
    try RunningHook(hook, program, seconds: settings.seconds, environment: environment)
  }
}

/// A hook at work outside the pause.
struct RunningHook {
  private let hook: Hook
  private let path: String
  private let process: HookProcess
  private let seconds: Double
  private let deadline: ContinuousClock.Instant

  /// - Throws: ``HookError``.
  init(_ hook: Hook, _ program: HookProgram, seconds: Double, environment: [String: String]) throws(HookError) {
    try program.check()
    let empty = open("/dev/null", O_RDONLY | O_CLOEXEC)
    defer { close(empty) }
    do throws(HookStart) {
      process = try HookProcess([program.path], environment: environment, input: empty)
    } catch {
      throw .cannotStart(hook: hook.key, path: program.path, why: error.why)
    }
    (self.hook, path, self.seconds) = (hook, program.path, seconds)
    deadline = .now + .seconds(seconds)
  }

  /// Waits until it ends, and kills it when its time is over.
  ///
  /// - Parameter mayGoOn: what it throws ends the program as well.
  /// - Returns: what was wrong with it.
  func finish(_ mayGoOn: () throws -> Void) rethrows -> HookError? {
    let inTime: Bool
    do { inTime = try process.hasEnded(by: deadline, mayGoOn) } catch {
      process.kill()
      _ = process.collect()
      throw error
    }
    if !inTime { process.kill() }
    let result = process.collect()
    guard inTime else { return .late(hook: hook.key, path: path, seconds: seconds, said: result?.said ?? "") }
    guard let result, result.status != 0 else { return nil }
    return .failed(hook: hook.key, path: path, status: result.status, said: result.said)
  }
}
