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
    #expect(streak.failures == 0 && streak.lastFailure == nil)
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

  @Test("of takes that others keep out, when there were three in a row and it has been an hour")
  func busy() {
    let busy = TakeFailure(StoreError.locked(path: "/lock", pid: 7), in: .reserve)
    func minute(_ number: Int64) -> EpochTime { EpochTime(milliseconds: number * 60_000) }
    var streak = TakeStreak()
    #expect(streak.add(busy, at: minute(0)) == nil && streak.add(busy, at: minute(90)) == nil)
    #expect(streak.failures == 0)
    #expect(streak.add(busy, at: minute(91)) == .failed(busy))
    #expect(streak.failures == 3 && streak.lastFailure?.kind == "busy" && streak.lastFailure?.message == busy.message)
    streak.isTold = true
    #expect(streak.add(busy, at: minute(92)) == nil)
    #expect(streak.failures == 4)
    #expect(streak.end() == .recovered)
    #expect(streak.failures == 0 && streak.busy == nil)
    // Many within an hour, then one that failed for another reason: the row of busy ones begins anew.
    for number in 100..<160 as Range<Int64> { #expect(streak.add(busy, at: minute(number)) == nil) }
    _ = streak.add(TakeFailure(Broken(), in: .copy), at: minute(160))
    #expect(streak.add(busy, at: minute(161)) == nil && streak.failures == 1)
    // Somebody stopped one: that is no word about the others.
    #expect(streak.add(TakeFailure(CheckpointError.interrupted, in: .reserve), at: minute(162)) == nil)
    #expect(streak.add(busy, at: minute(163)) == nil)
    #expect(streak.add(busy, at: minute(221)) == .failed(busy))
    #expect(streak.failures == 4)
  }

  @Test("of the same, with a clock that is set back: an hour after it at the latest")
  func busyWithClock() {
    let busy = TakeFailure(StoreError.locked(path: "/lock", pid: 7), in: .reserve)
    var streak = TakeStreak()
    for seconds in [100_000, 0, 60] as [Int64] {
      #expect(streak.add(busy, at: EpochTime(milliseconds: seconds * 1000)) == nil)
    }
    #expect(streak.add(busy, at: EpochTime(milliseconds: 3_600_000)) == .failed(busy))
  }

  @Test("of takes that are kept out, whatever process takes, and of the first one that is not")
  func busyIsRemembered() throws {
    let (folder, temporary) = (try HookFolder(), try TemporaryStore())
    let command = try folder.program("tell", #"echo "$CKPT_RESULT $CKPT_FAILURES" >>"$said""#)
    let locked = StoreError.locked(path: "/lock", pid: 7)
    for _ in 0..<3 { #expect(take(locked, temporary, command: command) == ["busy probe"]) }
    #expect(folder.said == [] && temporary.folder.streak.busy?.takes == 3)
    var streak = temporary.folder.streak
    streak.busy?.since = EpochTime(milliseconds: 0)
    try temporary.folder.setStreak(streak)
    for _ in 0..<2 { _ = take(locked, temporary, command: command) }
    _ = take(nil, temporary, command: command)
    #expect(folder.said == ["busy 4", "recovered 5"])
    #expect(temporary.folder.streak.busy == nil)
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
      "web", temporary.folder, TakeHooks(HookSettings(), guest: "web", uuid: "u", domain: 7, store: temporary.path),
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

  // MARK: A guest that is not there

  /// A take that ends before Xen is asked, as it would where the guest is gone.
  private func takeAbsent(_ guest: String, _ engine: Engine, command: HookProgram) -> [String] {
    let asked = Journal()
    var options = TakeOptions()
    options.notify = command
    _ = try? engine.take(
      guest,
      options: {
        asked.note($0)
        return options
      })
    return asked.events
  }

  private func teller(_ folder: HookFolder) throws -> HookProgram {
    let words = "$CKPT_RESULT $CKPT_GUEST ${CKPT_UUID:-no uuid} ${CKPT_DOMID:-no domain} $CKPT_FAILURES"
    return try folder.program("tell", #"echo "\#(words)" >>"$said""#)
  }

  @Test(
    "when it is gone, or Xen cannot be asked, by what the store has of it",
    .enabled(if: !FileManager.default.fileExists(atPath: "/dev/xen/privcmd")), arguments: [true, false])
  func absent(byUUID: Bool) throws {
    let (folder, temporary) = (try HookFolder(), try TemporaryStore())
    let uuid = temporary.folder.uuid
    _ = try temporary.folder.create(epoch: 1, reserving: 0).publish(
      EpochManifest(guest: "web", uuid: uuid, epoch: 1, kind: .pvh, vcpus: 1, memoryBytes: 1 << 20))
    let (engine, command) = (Engine(storePath: temporary.path), try teller(folder))
    for _ in 0..<3 {
      #expect(takeAbsent(byUUID ? uuid.uppercased() : "web", engine, command: command) == ["web"])
    }
    #expect(folder.said == ["failed web \(uuid) no domain 1"])
    #expect(temporary.folder.streak.failures == 3 && temporary.folder.streak.lastFailure?.phase == "probe")
  }

  @Test(
    "though the store knows nothing of it, when somebody counts on it; nothing is made, and nobody told of a slip",
    .enabled(if: !FileManager.default.fileExists(atPath: "/dev/xen/privcmd")), arguments: [true, false])
  func absentWithoutFolder(isAwaited: Bool) throws {
    let (folder, temporary) = (try HookFolder(), try TemporaryStore())
    let before = try FileManager.default.contentsOfDirectory(atPath: temporary.path).sorted()
    let engine = Engine(storePath: temporary.path, awaited: AwaitedGuests { isAwaited && $0 == "mail" })
    let command = try teller(folder)
    for _ in 0..<3 {
      #expect(takeAbsent("mail", engine, command: command) == (isAwaited ? ["mail"] : []))
      #expect(takeAbsent("mial", engine, command: command) == [])
    }
    #expect(folder.said == (isAwaited ? ["failed mail no uuid no domain 1"] : []))
    #expect(try FileManager.default.contentsOfDirectory(atPath: temporary.path).sorted() == before)
    #expect(takeAbsent("mail", Engine(storePath: "/nowhere"), command: command) == [])
  }

  @Test("of the first success of a guest that had no folder when it failed")
  func comesBack() throws {
    let (folder, temporary) = (try HookFolder(), try TemporaryStore())
    let (awaited, command) = (AwaitedGuests { $0 == "web" }, try teller(folder))
    func take(into guest: GuestFolder?, _ error: (any Error)?) {
      let signals = TakeSignals({ _ in }, awaited: awaited)
      _ = try? signals.run {
        signals.begin(
          "web", guest, TakeHooks(HookSettings(), guest: "web", uuid: nil, domain: nil, store: temporary.path),
          command: command)
        if let error { throw error }
        return EpochManifest(guest: "web", uuid: "u", epoch: 9, kind: .pv, vcpus: 1, memoryBytes: 0)
      }
    }
    for _ in 0..<2 { take(into: nil, Broken()) }
    take(into: temporary.folder, nil)
    #expect(folder.said == ["failed web no uuid no domain 1", "recovered web no uuid no domain 2"])
    #expect(temporary.folder.streak.failures == 0 && awaited.streak(of: "web") == TakeStreak())
  }
}
