import Glibc
import Testing

@testable import Xen

@Suite("Who is suspending a guest")
struct SuspensionNoteTests {
  private static let now = 100_000
  private static let most = Suspension.answerSeconds + Suspension.freezeSeconds

  @Test(
    "A note comes back as it was written",
    arguments: [
      SuspensionNote(owner: .own, asked: nil), SuspensionNote(owner: .own, asked: 77),
      SuspensionNote(owner: .nobody, asked: 0),
    ])
  func note(note: SuspensionNote) { #expect(SuspensionNote(note.text) == note) }

  @Test(
    "Any other text is an old request of nobody: a suspended guest is resumed, a running one not waited for",
    arguments: ["x", "1", "1 2", "1 2 3 4", "1 2 -3", "1 2 99999999999999999999", "a b -", " - "])
  func foreign(text: String) {
    let note = SuspensionNote(text)
    #expect(note == SuspensionNote(owner: .nobody, asked: 0))
    #expect(note?.obstacle(at: Self.now, isOpen: false) == nil)
  }

  @Test("is of a take that began before") func wasBegun() {
    #expect(SuspensionNote(owner: .own, asked: 5).wasBegun(until: 5))
    #expect(!SuspensionNote(owner: .own, asked: 6).wasBegun(until: 5))
    #expect(!SuspensionNote(owner: .own, asked: nil).wasBegun(until: 5))
    #expect(SuspensionNote(owner: .nobody, asked: nil).wasBegun(until: 5))
  }

  @Test func none() { #expect(SuspensionNote("") == nil) }

  @Test(
    "A living take keeps others out, a dead one as long as the guest may still suspend",
    arguments: [
      (SuspensionNote(owner: .own, asked: nil), String?.some("in its pause")),
      (SuspensionNote(owner: .own, asked: 5), "in its pause"),
      (SuspensionNote(owner: .nobody, asked: now), "ckpt recover"),
      (SuspensionNote(owner: .nobody, asked: now - most + 1), "ckpt recover"),
      (SuspensionNote(owner: .nobody, asked: now - most), nil),
      (SuspensionNote(owner: .nobody, asked: nil), nil),
    ])
  func obstacle(note: SuspensionNote, words: String?) {
    let text = note.obstacle(at: Self.now, isOpen: true)
    #expect((text == nil) == (words == nil))
    #expect(words.map { text?.contains($0) == true } ?? true)
  }

  @Test("A note of this process that could not be cleared keeps nobody out for ever")
  func remainder() {
    #expect(SuspensionNote(owner: .own, asked: nil).obstacle(at: Self.now, isOpen: false) == nil)
    #expect(SuspensionNote(owner: .own, asked: Self.now - Self.most).obstacle(at: Self.now, isOpen: false) == nil)
  }

  @Test(
    "Whoever looks after a suspend that was left ends that one, not a younger one of the same guest",
    arguments: [
      // It could not be read: that says nothing.
      (String?.none, true), ("", false), ("4 100 77", true), ("0 0 77", true),
      ("4 100 78", false), ("5 100 77", false), ("4 100 -", false), ("nonsense", false),
    ])
  func stands(text: String?, stands: Bool) throws {
    let left = try #require(SuspensionNote("4 100 77"))
    #expect(left.stands(text) == stands)
  }

  @Test(
    "A guest that another tool holds or has asked is not asked",
    arguments: [
      (Domain.State.running, "", String?.none), (.running, "suspend", "'suspend'"),
      (.running, "poweroff", "'poweroff'"),
      (.suspended, "", "by another tool or by itself"), (.paused, "", "xl pause"),
    ])
  func refusal(state: Domain.State, pending: String, words: String?) {
    let text = Suspension.obstacle(state, pending: pending)
    #expect((text == nil) == (words == nil))
    #expect(words.map { text?.contains($0) == true } ?? true)
  }
}

@Suite("The wait for a suspend")
struct SuspendWaitTests {
  private struct Stop: Error {}
  private let asked = ContinuousClock.now

  /// - Parameters:
  ///   - taken: seconds after the request.
  ///   - now: as well.
  private func reason(
    _ path: SuspendPath = .xenstore, taken: Double?, now: Double, isWanted: Bool = true
  ) -> (any Error)? {
    Suspension.reasonToEnd(
      7, path, asked: asked, taken: taken.map { asked + .seconds($0) }, now: asked + .seconds(now)
    ) {
      if !isWanted { throw Stop() }
    }
  }

  @Test("ends at once when nobody wants it any more, but not once the guest has taken the request")
  func unwanted() {
    #expect(reason(taken: nil, now: 0, isWanted: false) is Stop)
    #expect(reason(taken: 0, now: 1, isWanted: false) == nil)
    #expect(reason(.eventChannel, taken: 0, now: 1, isWanted: false) == nil)
  }

  @Test("has a limit for the answer, and one for what comes after it")
  func limits() {
    #expect(reason(taken: nil, now: 20) == nil)
    #expect(reason(taken: nil, now: 20.1) as? XenError == .suspendIgnored(domain: 7, seconds: 20))
    #expect(reason(taken: 19, now: 64) == nil)
    #expect(reason(taken: 19, now: 64.1) as? XenError == .suspendTimedOut(domain: 7, seconds: 45))
  }

  @Test("names a channel that nobody serves, and both ways out")
  func unserved() throws {
    let error = try #require(reason(.eventChannel, taken: 0, now: 45.1) as? XenError)
    #expect(error == .channelUnanswered(domain: 7, seconds: 45))
    #expect("\(error)".contains("modprobe ckpt_suspend"))
    #expect("\(error)".contains("xenstore-write /local/domain/7/device/suspend/event-channel ''"))
  }
}

@Suite("A process's identity")
struct ProcessIdentityTests {
  @Test func own() throws {
    #expect(ProcessIdentity.own.isAlive)
    #expect(ProcessIdentity(ProcessIdentity.own.text) == .own)
  }

  @Test("Another process with the same number is another")
  func reused() throws {
    #expect(try #require(ProcessIdentity("\(getpid()) 1")).isAlive == false)
    #expect(!ProcessIdentity.nobody.isAlive)
  }

  @Test("A killed process that its parent has not collected is dead")
  func uncollected() throws {
    var child = pid_t()
    var arguments: [UnsafeMutablePointer<CChar>?] = [strdup("sleep"), strdup("1000"), nil]
    defer { for argument in arguments { free(argument) } }
    #expect(posix_spawnp(&child, "sleep", nil, nil, &arguments, environ) == 0)
    let start = try #require(ProcessIdentity.startTime(child))
    let identity = try #require(ProcessIdentity("\(child) \(start)"))
    #expect(identity.isAlive)
    kill(child, SIGKILL)
    // Waits until it is dead, and leaves it uncollected.
    var information = siginfo_t()
    #expect(waitid(P_PID, id_t(child), &information, WEXITED | WNOWAIT) == 0)
    #expect(!identity.isAlive)
    var status: Int32 = 0
    waitpid(child, &status, 0)
  }

  @Test(arguments: ["", "1", "1 2 3", "a 2", "1 b", "1  2", "-1 -2"])
  func text(text: String) { #expect(ProcessIdentity(text) == nil) }
}
