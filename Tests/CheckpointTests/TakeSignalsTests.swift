import EpochStore
import Foundation
import Testing

@testable import Checkpoint

@Suite("People are told")
struct TakeSignalsTests {
  private struct Broken: Error {}

  @Test("of the first failure of a row, and of the first success after it")
  func notices() {
    let failed = TakeFailure(Broken(), in: .copy)
    let skipped = TakeFailure(CheckpointError.noRoom(guest: "web", "full"), in: .reserve)
    let busy = TakeFailure(StoreError.locked(path: "", pid: nil), in: .reserve)
    let interrupted = TakeFailure(CheckpointError.interrupted, in: .precopy)
    var streak = TakeStreak()
    #expect(streak.end() == nil)
    #expect(streak.add(busy) == nil && streak.add(interrupted) == nil)
    #expect(streak == TakeStreak())
    #expect(streak.add(failed) == .failed(failed))
    // Nobody could be told.
    #expect(streak.add(skipped) == .failed(skipped))
    streak.isTold = true
    #expect(streak.add(skipped) == nil && streak.add(busy) == nil)
    #expect(streak.failures == 3 && streak.lastFailure?.kind == "skipped")
    #expect(streak.end() == .recovered)
    #expect(streak.failures == 0 && streak.lastFailure?.phase == "reserve")
    #expect(streak.end() == nil)
    #expect(streak.add(failed) == .failed(failed))
  }

  @Test(
    "by kind of failure",
    arguments: [
      (StoreError.full(needed: 1, available: 0, path: ""), TakeFailure.Kind.skipped),
      (PoolError.nearlyFull(pool: "", what: "", have: 0, need: 1, command: ""), .skipped),
      (PoolError.locked(pool: ""), .busy), (CheckpointError.beingSaved(guest: ""), .busy),
      (CheckpointError.interrupted, .interrupted), (CheckpointError.pauseTooLong(guest: "", seconds: 1), .failed),
    ] as [(any Error, TakeFailure.Kind)])
  func kinds(error: any Error, kind: TakeFailure.Kind) { #expect(TakeFailure(error, in: .copy).kind == kind) }

  /// One take that ends as told, by a process of its own each time.
  private func take(_ error: (any Error)?, _ temporary: TemporaryStore, command: HookProgram?) -> [String] {
    let events = Journal()
    let signals = TakeSignals { event in
      switch event {
      case .note(let text): events.note("note \(text)")
      case .failed(let failure): events.note("\(failure.kind) \(failure.phase)")
      default: break
      }
    }
    signals.begin(
      temporary.folder, TakeHooks(HookSettings(), guest: "web", uuid: "u", domain: 7, store: temporary.path),
      command: command)
    _ = try? signals.run {
      if let error { throw error }
      return EpochManifest(guest: "web", uuid: "u", epoch: 9, kind: .pv, vcpus: 1, memoryBytes: 0)
    }
    return events.events
  }

  @Test("by a command, once, whatever process takes")
  func command() throws {
    let (folder, temporary) = (try HookFolder(), try TemporaryStore())
    let command = try folder.program(
      "tell",
      #"echo "$CKPT_HOOK $CKPT_RESULT $CKPT_GUEST $CKPT_FAILURES $CKPT_PHASE $CKPT_EPOCH $CKPT_ERROR" >>"$said""#)
    for error in [Broken(), CheckpointError.interrupted, Broken(), nil, nil, Broken()] as [(any Error)?] {
      let events = take(error, temporary, command: command)
      #expect(events == (error == nil ? [] : [error is Broken ? "failed probe" : "interrupted probe"]))
    }
    #expect(
      folder.said == [
        "notify failed web 1 probe  Broken()", "notify recovered web 2  9 ", "notify failed web 1 probe  Broken()",
      ])
    #expect(temporary.folder.streak.failures == 1)
  }

  @Test("again when the command failed, which is told as well")
  func commandFails() throws {
    let (folder, temporary) = (try HookFolder(), try TemporaryStore())
    let command = try folder.program("tell", "echo no mail; exit 1")
    for _ in 0..<2 {
      let events = take(Broken(), temporary, command: command)
      #expect(events == ["failed probe", "note notify-command \(command.path) failed with status 1: no mail"])
    }
    #expect(take(nil, temporary, command: command) == [])
    #expect(temporary.folder.streak.failures == 0)
  }

  @Test("of failures by the store, where no command is configured")
  func remembered() throws {
    let temporary = try TemporaryStore()
    for _ in 0..<3 { _ = take(Broken(), temporary, command: nil) }
    #expect(temporary.folder.streak.failures == 3)
    #expect(temporary.folder.streak.lastFailure?.message == "Broken()")
    let mode = try FileManager.default.attributesOfItem(atPath: temporary.folder.path + "/takes")[.posixPermissions]
    #expect(mode as? Int == 0o600)
    // One that cannot be read is as none.
    try Data("{".utf8).write(to: URL(fileURLWithPath: temporary.folder.path + "/takes"))
    #expect(temporary.folder.streak == TakeStreak())
  }
}
