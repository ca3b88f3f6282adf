import EpochStore

/// Tells of one take whoever wants to know: every failure as an event, the guest's row of failures in its folder, and people
/// by the configured command.
final class TakeSignals {
  private struct Subject {
    let guest: String
    /// nil when the store cannot be written, or knows nothing of a guest that is not there.
    let folder: GuestFolder?
    let hooks: TakeHooks
    let command: HookProgram?
  }

  private let forward: (TakeEvent) -> Void
  private let awaited: AwaitedGuests
  private var failure: TakeFailure?
  private var subject: Subject?

  init(_ forward: @escaping (TakeEvent) -> Void, awaited: AwaitedGuests = AwaitedGuests()) {
    (self.forward, self.awaited) = (forward, awaited)
  }

  /// Where the take's own events go.
  func report(_ event: TakeEvent) {
    if case .failed(let told) = event { failure = told }
    forward(event)
  }

  /// The guest is known from here on.
  func begin(_ guest: String, _ folder: GuestFolder?, _ hooks: TakeHooks, command: HookProgram?) {
    subject = Subject(guest: guest, folder: folder, hooks: hooks, command: command)
    // The row that people were told of while it had no folder goes on there.
    if let folder, let earlier = awaited.remove(guest), folder.streak.failures == 0 { try? folder.setStreak(earlier) }
  }

  /// Runs the take and tells how it went.
  func run(_ body: () throws -> EpochManifest) throws -> EpochManifest {
    do {
      let manifest = try body()
      ended(nil, epoch: manifest.epoch)
      return manifest
    } catch {
      // A take that did not come to its beginning tells of no phase of its own.
      let failure = self.failure ?? TakeFailure(error, in: .probe)
      if self.failure == nil { forward(.failed(failure)) }
      ended(failure, epoch: nil)
      throw error
    }
  }

  private func ended(_ failure: TakeFailure?, epoch: Int?) {
    guard let subject else { return }
    func known() -> TakeStreak { subject.folder?.streak ?? awaited.streak(of: subject.guest) }
    let before = known()
    var streak = before
    let notice = if let failure { streak.add(failure) } else { streak.end() }
    if let notice, let command = subject.command {
      var about = ["CKPT_RESULT": notice.result, "CKPT_FAILURES": String(max(before.failures, streak.failures))]
      about["CKPT_ERROR"] = failure?.message
      about["CKPT_EPOCH"] = epoch.map { String($0) }
      if let problem = subject.hooks.run(.notify, command, phase: failure?.phase, about) {
        forward(.note("\(problem)"))
      } else if failure != nil {
        streak.isTold = true
      }
    }
    // The take that kept this one out may have ended while people were told.
    if streak != before, known() == before { keep(streak, of: subject) }
  }

  /// Told once more is better than never: a store that cannot be written is no reason to be silent.
  private func keep(_ streak: TakeStreak, of subject: Subject) {
    if let folder = subject.folder { try? folder.setStreak(streak) } else { awaited.keep(streak, of: subject.guest) }
  }
}
