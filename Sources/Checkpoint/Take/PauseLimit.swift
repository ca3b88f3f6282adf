import Dispatch
import Synchronization

/// The hard limit of a pause: a guest that is still held when it passes is let go, whatever the engine waits for at that moment: a
/// store that hangs, a copy that does not end. A thread of its own keeps it, made before the request.
final class PauseLimit: @unchecked Sendable {
  // Unchecked: the guest's `resume` is called under the lock only.
  private let guest: any Guest
  private let keeper: (any PauseKeeper)?
  private let hold = Mutex(Hold())
  private let begun = DispatchSemaphore(value: 0)
  private let ended = DispatchSemaphore(value: 0)
  private let expired = Atomic(false)

  private struct Hold {
    var isHeld = false
    var deadline = ContinuousClock.now
    /// The keeper has left the guest to this process. Asked again it would say no, as if it had the guest itself.
    var isOurs = false
    /// Somebody else let the guest go, and nobody knows when.
    var wasLost = false
  }

  /// - Parameter keeper: lets the guest go when this process cannot.
  init(_ guest: any Guest, _ keeper: (any PauseKeeper)?) {
    self.guest = guest
    self.keeper = keeper
    DispatchQueue(label: "pause limit", qos: .userInteractive).async { [self] in watch() }
  }

  private func watch() {
    let urgency = Urgency(.limit)
    defer { urgency.end() }
    begun.wait()
    repeat {
      let left = max(0, (hold.withLock { $0.deadline } - .now).milliseconds)
      guard ended.wait(timeout: .now() + .microseconds(Int(left * 1000))) == .timedOut else { return }
    } while !expire()
  }

  /// False: the guest has more time by now.
  private func expire() -> Bool {
    hold.withLock { hold in
      guard hold.deadline <= .now else { return false }
      expired.store(true, ordering: .relaxed)
      // If it fails the engine's own call tries once more, and says so.
      try? resume(&hold)
      return true
    }
  }

  /// The guest is suspended: from here on it may be held until the deadline.
  func begin(until deadline: ContinuousClock.Instant) {
    hold.withLock { hold in
      hold.deadline = deadline
      hold.isHeld = true
    }
    begun.signal()
  }

  /// The guest never got suspended.
  func cancel() {
    if keeper?.release() == false { guest.handOver() }
    keeper?.released()
    ended.signal()
    begun.signal()
  }

  /// Lets the guest go on, unless the limit has passed and did so.
  func end() throws {
    defer { ended.signal() }
    try hold.withLock { hold in try resume(&hold) }
  }

  /// The guest is to be held on, for so long from now. False: it is let go already.
  func prolong(seconds: Double) -> Bool {
    hold.withLock { hold in
      guard hold.isHeld, keeper?.prolong(seconds: seconds) != false else { return false }
      hold.deadline = max(hold.deadline, .now + .seconds(seconds))
      return true
    }
  }

  /// The guest does not exist any more.
  func forget() {
    hold.withLock { $0.isHeld = false }
    ended.signal()
  }

  /// The guest was not held to the end of its pause: what was copied is of no instant.
  var hasPassed: Bool { expired.load(ordering: .relaxed) }

  /// Another tool let the guest go while it was held: what was copied is of no instant either.
  var wasLost: Bool { hold.withLock { $0.wasLost } }

  private func resume(_ hold: inout Hold) throws {
    guard hold.isHeld else { return }
    if hold.isOurs || keeper?.release() != false {
      hold.isOurs = true
      hold.wasLost = try !guest.resume()
      keeper?.resumed()
    } else {
      expired.store(true, ordering: .relaxed)
      guest.handOver()
    }
    hold.isHeld = false
  }
}
