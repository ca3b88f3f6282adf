import CLinux
import Dispatch
import Glibc
import Synchronization

/// The hook in the pause. Its process is made before the request and waits; in the pause it only gets a word and becomes the
/// program. A thread of its own kills it at its deadline, so that nothing else of the pause has to look at it.
final class PauseHook: @unchecked Sendable {
  // Unchecked: `deadline` is written before the thread that reads it is let go.
  private let process: HookProcess
  /// The end of the waiting process's input that is ours; closed without a word, the process ends.
  private var gate: Int32
  private let path: String
  private let seconds: Double
  private var deadline: ContinuousClock.Instant?
  private let begun = DispatchSemaphore(value: 0)
  private let ended = DispatchSemaphore(value: 0)
  private let isLate = Atomic(false)

  /// Waits for a line, then becomes its first argument; ends when there is none.
  private static let waiting = ["/bin/sh", "-c", #"read -r word && exec "$0" </dev/null"#]

  /// - Throws: ``HookError``.
  init(_ program: HookProgram, seconds: Double, environment: [String: String]) throws(HookError) {
    try program.check()
    (path, self.seconds) = (program.path, seconds)
    var ends: [Int32] = [-1, -1]
    guard pipe2(&ends, O_CLOEXEC) == 0 else {
      throw .cannotStart(hook: Hook.pause.key, path: program.path, why: String(cString: strerror(errno)))
    }
    defer { close(ends[0]) }
    do throws(HookStart) {
      process = try HookProcess(PauseHook.waiting + [program.path], environment: environment, input: ends[0])
    } catch {
      close(ends[1])
      throw .cannotStart(hook: Hook.pause.key, path: program.path, why: error.why)
    }
    gate = ends[1]
    DispatchQueue(label: "pause hook", qos: .userInteractive).async { [self] in watch() }
  }

  private func watch() {
    begun.wait()
    if let deadline, !process.endsBy(deadline) { killLate() }
    ended.signal()
  }

  private func killLate() {
    isLate.store(true, ordering: .relaxed)
    process.kill()
  }

  /// The guest is held: begins.
  func release() {
    deadline = .now + .seconds(seconds)
    var word = UInt8(ascii: "\n")
    _ = write(gate, &word, 1)
    begun.signal()
  }

  /// Waits until it has ended or was killed; never longer than until its own deadline, or `limit`.
  func await(until limit: ContinuousClock.Instant) {
    guard let deadline else { return }
    // A little for the thread to wake up in; then this one does its work.
    let last = min(limit, deadline + .milliseconds(5))
    let left = max(0, (last - .now).milliseconds)
    if ended.wait(timeout: .now() + .microseconds(Int(left * 1000))) == .timedOut { killLate() } else { ended.signal() }
  }

  /// After the pause, or in place of it.
  ///
  /// - Returns: what was wrong with it.
  func finish() -> HookError? {
    if deadline == nil { begun.signal() }
    close(gate)
    ended.wait()
    let result = process.collect()
    guard deadline != nil else { return nil }
    if isLate.load(ordering: .relaxed) {
      return .late(hook: Hook.pause.key, path: path, seconds: seconds, said: result?.said ?? "")
    }
    guard let result, result.status != 0 else { return nil }
    return .failed(hook: Hook.pause.key, path: path, status: result.status, said: result.said)
  }
}
