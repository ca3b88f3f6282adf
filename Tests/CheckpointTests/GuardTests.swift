import Dispatch
import EpochStore
import Foundation
import Synchronization
import Testing

@testable import Checkpoint

/// A guest in a guard's care that only remembers what was done to it.
private final class ScriptedWard: Ward, Sendable {
  let done = Mutex<[String]>([])
  private let held = Atomic(true)
  var isHeld: Bool {
    get { held.load(ordering: .relaxed) }
    set { held.store(newValue, ordering: .relaxed) }
  }
  func letGo(from state: PauseClaim.State) -> [String] {
    done.withLock { $0.append(state == .over ? "forget" : "letGo") }
    return []
  }
  func cleanUp() -> [String] {
    done.withLock { $0.append("cleanUp") }
    return []
  }
}

/// A guard at work in a thread of this process, and the engine's end of its socket.
private final class Watch {
  let engine: PauseClaim
  let ward = ScriptedWard()
  private let lifeline: Int32
  private let ended = DispatchSemaphore(value: 0)

  init() throws {
    var ends: [Int32] = [-1, -1]
    #expect(socketpair(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue), 0, &ends) == 0)
    lifeline = ends[0]
    engine = try PauseClaim()
    // Its own mapping of the same memory, as the other process has it.
    let claim = try PauseClaim(inherited: dup(engine.descriptor))
    let (ward, ended, other) = (ward, ended, ends[1])
    DispatchQueue.global().async {
      GuardDuty(lifeline: other, claim: claim, ward: ward, report: { _ in }).watch()
      close(other)
      ended.signal()
    }
  }

  func say(_ word: PauseGuard.Word) {
    var byte = word.rawValue
    #expect(send(lifeline, &byte, 1, 0) == 1)
  }
  func ask(milliseconds: UInt64) {
    engine.ask(deadline: PauseClaim.now + milliseconds * 1_000_000)
    say(.look)
  }
  /// The engine is no more.
  func die() { close(lifeline) }
  func end() { ended.wait() }
  func wait(for state: PauseClaim.State) { while engine.state != state { usleep(1000) } }
  var done: [String] { ward.done.withLock { $0 } }
}

@Suite("The guard of a pause")
struct GuardTests {
  @Test("after a farewell nothing is done") func farewell() throws {
    let watch = try Watch()
    watch.ask(milliseconds: 60_000)
    #expect(watch.engine.change(.asked, to: .lettingGo))
    #expect(watch.engine.change(.lettingGo, to: .over))
    watch.say(.farewell)
    watch.end()
    #expect(watch.done == [])
  }

  @Test("an engine that dies after it resumed its guest leaves only a note") func deathAfterThePause() throws {
    let watch = try Watch()
    watch.ask(milliseconds: 60_000)
    #expect(watch.engine.change(.asked, to: .lettingGo))
    #expect(watch.engine.change(.lettingGo, to: .over))
    watch.say(.look)
    watch.die()
    watch.end()
    #expect(watch.done == ["forget", "cleanUp"])
  }

  @Test("an engine that dies, in the pause or out of it, leaves its guest to the guard", arguments: [true, false])
  func death(inPause: Bool) throws {
    let watch = try Watch()
    if inPause { watch.ask(milliseconds: 60_000) }
    watch.die()
    watch.end()
    #expect(watch.done == ["letGo", "cleanUp"])
  }

  @Test("an engine that is late loses the guest, and hears of it") func late() throws {
    let watch = try Watch()
    watch.ask(milliseconds: 1)
    watch.wait(for: .taken)
    #expect(!watch.engine.change(.asked, to: .lettingGo))
    #expect(!watch.engine.prolong(deadline: PauseClaim.now + 60_000_000_000))
    // What it suspends after that is looked after while it lives, and when it dies.
    while watch.done.count < 3 { usleep(1000) }
    watch.die()
    watch.end()
    #expect(watch.done.dropLast().allSatisfy { $0 == "letGo" } && watch.done.last == "cleanUp")
  }

  @Test("a guest that takes its time to suspend is the engine's, until it is held too long") func slow() throws {
    let watch = try Watch()
    watch.ward.isHeld = false
    watch.ask(milliseconds: 1)
    usleep(700_000)
    #expect(watch.engine.state == .asked)
    watch.ward.isHeld = true
    watch.wait(for: .taken)
    watch.die()
    watch.end()
  }

  @Test("a guest that is held on stays the engine's beyond the limit of its pause, until that dies")
  func prolonged() throws {
    let watch = try Watch()
    watch.ask(milliseconds: 500)
    #expect(watch.engine.prolong(deadline: PauseClaim.now + 60_000_000_000))
    usleep(1_500_000)
    #expect(watch.engine.state == .asked && watch.done == [])
    watch.die()
    watch.end()
    #expect(watch.done == ["letGo", "cleanUp"])
  }

  @Test("one that was stopped while it let go loses it too") func stoppedAtTheLastStep() throws {
    let watch = try Watch()
    watch.engine.ask(deadline: PauseClaim.now)
    #expect(watch.engine.change(.asked, to: .lettingGo))
    watch.say(.look)
    watch.wait(for: .taken)
    let before = watch.done.count
    watch.say(.farewell)
    watch.end()
    // Once more at the end: it may have asked the guest again before it knew.
    #expect(watch.done.count > before && watch.done.allSatisfy { $0 == "letGo" })
  }

  @Test("memory that holds no state of ours is the guard's") func foreignState() throws {
    let claim = try PauseClaim()
    #expect(claim.state == .calm)
    var value: UInt32 = 77
    #expect(pwrite(claim.descriptor, &value, 4, 0) == 4)
    #expect(claim.state == .taken)
  }
}

/// A keeper that takes the guest away, or is dead.
private final class ScriptedKeeper: PauseKeeper, Sendable {
  let journal: Journal
  let takesOver: Bool
  let isDead: Bool
  let isSlow: Bool
  private let taken: Mutex<Bool>
  var hasTaken: Bool { taken.withLock { $0 } }
  /// It takes the guest that is held.
  func take() { taken.withLock { $0 = true } }
  init(
    _ journal: Journal, takesOver: Bool = false, isDead: Bool = false, hasTaken: Bool = false, isSlow: Bool = false
  ) {
    (self.journal, self.takesOver, self.isDead, self.isSlow) = (journal, takesOver, isDead, isSlow)
    taken = Mutex(hasTaken)
  }
  func awaitReady() {
    journal.note("awaitReady")
    if isSlow { usleep(400_000) }
  }
  func asked(seconds: Double) throws {
    journal.note("asked")
    if isDead { throw GuardError.died }
  }
  /// As with a claim: what was given once is not given again.
  private let isGiven = Mutex(false)
  func prolong(seconds: Double) -> Bool {
    journal.note("prolong")
    return !hasTaken
  }
  func release() -> Bool {
    isGiven.withLock { isGiven in
      defer { isGiven = true }
      return !isGiven && !takesOver && !hasTaken
    }
  }
  func resumed() { journal.note("resumed") }
  func released() { journal.note("released") }
  func dismiss(calm: Bool) { journal.note("dismiss \(calm)") }
}

@Suite("A take and its guard")
struct KeptTakeTests {
  private let journal = Journal()

  private func take(
    _ keeper: ScriptedKeeper, fault: ScriptedGuest.Fault? = nil, mayStillSuspend: Bool = false, isLate: Bool = false,
    timeout: Double? = nil
  ) throws -> ScriptedGuest {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1), 2: page(2)], journal: journal)
    (guest.fault, guest.mayStillSuspend) = (fault, mayStillSuspend)
    var options = TakeOptions()
    options.stagingBytes = 64 * 4096
    options.timeoutSeconds = timeout
    if isLate { options.mostPauseSeconds = 0.05 }
    let disks = ScriptedDisks(journal: journal, whileSnapshotting: { if isLate { usleep(300_000) } })
    let take = Take(guest, disks: disks, into: temporary.folder, options: options, keeper: { keeper })
    _ = try take.run()
    return guest
  }

  private func order(_ events: [String]) throws -> [Int] {
    try events.map { try #require(journal.position($0), "\($0) did not happen") }
  }

  /// A take after which the guest is not to run again.
  private func hold(
    _ keeper: ScriptedKeeper, fault: ScriptedGuest.Fault? = nil, isLetGo: Bool = false
  ) throws -> (ScriptedGuest, HeldGuest?, EpochManifest) {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1), 2: page(2)], journal: journal)
    (guest.fault, guest.isLetGo) = (fault, isLetGo)
    var options = TakeOptions()
    options.stagingBytes = 64 * 4096
    let take = Take(
      guest, disks: ScriptedDisks(journal: journal), into: temporary.folder, options: options, keeper: { keeper },
      holdsOn: true)
    let manifest = try take.run()
    return (guest, take.held, manifest)
  }

  @Test("a guest that is not to run again stands still when its epoch is there, with nothing of it mapped")
  func heldOn() throws {
    let (guest, held, manifest) = try hold(ScriptedKeeper(journal))
    #expect(guest.condition == .suspended && held?.standsStill == true)
    #expect(try #require(manifest.statistics).notes.contains { $0.contains("held on") })
    let positions = try order(["request", "prolong", "dropMemory"])
    #expect(positions == positions.sorted())
    #expect(journal.position("resume") == nil && journal.position("dismiss true") == nil)

    guest.isDestroyed = true
    held?.wasDestroyed()
    #expect(held?.standsStill == false)
    #expect(journal.position("resume") == nil)
    _ = try order(["disarm", "dismiss true"])
    // It is gone: there is nobody to let go.
    try held?.letGo()
    #expect(journal.position("resume") == nil)
  }

  @Test("one that is not destroyed after all runs on, and the guard is let go") func heldInVain() throws {
    let (guest, held, _) = try hold(ScriptedKeeper(journal))
    try held?.letGo()
    #expect(guest.condition == .running)
    let positions = try order(["resume", "resumed", "disarm", "dismiss true"])
    #expect(positions == positions.sorted())
  }

  @Test("one that is gone has nobody to let go") func heldAndGone() throws {
    let (guest, held, _) = try hold(ScriptedKeeper(journal))
    guest.isDestroyed = true
    #expect(held?.standsStill == false)
    try held?.letGo()
    #expect(journal.position("resume") == nil)
    _ = try order(["disarm", "dismiss true"])
  }

  @Test("one that another tool let go does not stand still, and one that was let go while it was copied makes no epoch")
  func heldAndLost() throws {
    let (guest, held, _) = try hold(ScriptedKeeper(journal))
    guest.isLetGo = true
    #expect(held?.standsStill == false)
    #expect(throws: CheckpointError.letGo(guest: "web")) { try hold(ScriptedKeeper(Journal()), isLetGo: true) }
  }

  @Test("one that is about to be destroyed is given the time for that, unless it has run on")
  func heldToTheEnd() throws {
    let keeper = ScriptedKeeper(journal)
    let (guest, held, _) = try hold(keeper)
    #expect(held?.holdOn() == true && held?.wasLetGo == false)
    #expect(journal.events.filter { $0 == "prolong" }.count == 2)
    guest.isLetGo = true
    #expect(held?.holdOn() == false)
    guest.isLetGo = false
    // While xl comes to it.
    keeper.take()
    #expect(held?.holdOn() == false && held?.wasLetGo == true)
    guest.isDestroyed = true
    held?.wasDestroyed()
    #expect(held?.holdOn() == false)
    #expect(journal.events.filter { $0 == "prolong" }.count == 2)
  }

  @Test("one whose epoch fails runs on", arguments: [ScriptedGuest.Fault.processors, .state, .lastLook])
  func heldForNothing(fault: ScriptedGuest.Fault) throws {
    #expect(throws: fault) { try hold(ScriptedKeeper(journal), fault: fault) }
    let positions = try order(["resume", "dismiss true"])
    #expect(positions == positions.sorted())
    #expect(journal.position("prolong") == nil)
  }

  @Test("one whose disks fail runs on", arguments: [ScriptedDisks.Fault.snapshot, .commit])
  func heldWithoutDisks(fault: ScriptedDisks.Fault) throws {
    let temporary = try TemporaryStore()
    let guest = ScriptedGuest(pages: [1: page(1)], journal: journal)
    let keeper = ScriptedKeeper(journal)
    let disks = ScriptedDisks(journal: journal, fault: fault)
    let take = Take(guest, disks: disks, into: temporary.folder, keeper: { keeper }, holdsOn: true)
    #expect(throws: fault) { try take.run() }
    #expect(guest.condition == .running && take.held == nil)
    let positions = try order(["prolong", "resume", "resumed", "disarm", "dismiss true"])
    #expect(positions == positions.sorted())
  }

  @Test("one that cannot be resumed then is left to the guard") func heldAndStuck() throws {
    let (_, held, _) = try hold(ScriptedKeeper(journal), fault: .resume)
    #expect(throws: ScriptedGuest.Fault.resume) { try held?.letGo() }
    _ = try order(["dismiss false"])
  }

  @Test("the guard knows before the guest is asked, and is let go when the guest runs") func order() throws {
    _ = try take(ScriptedKeeper(journal))
    let positions = try order([
      "awaitReady", "asked", "prepareRequest", "request", "resume", "resumed", "disarm", "dismiss true",
    ])
    #expect(positions == positions.sorted())
  }

  @Test("a guest that the guard has taken is not resumed a second time, and makes no epoch") func taken() throws {
    #expect(throws: CheckpointError.pauseTooLong(guest: "web", seconds: TakeOptions().mostPauseSeconds)) {
      try take(ScriptedKeeper(journal, takesOver: true))
    }
    #expect(journal.position("resume") == nil)
    _ = try order(["handOver", "dismiss true"])
  }

  @Test("a guest that the guard let go before it was seen suspended is not waited for") func takenEarly() throws {
    #expect(throws: CheckpointError.pauseTooLong(guest: "web", seconds: TakeOptions().mostPauseSeconds)) {
      try take(ScriptedKeeper(journal, hasTaken: true))
    }
    #expect(journal.position("copy") == nil && journal.position("resume") == nil)
    _ = try order(["request", "handOver", "dismiss true"])
  }

  @Test("without a guard the guest is not asked") func dead() throws {
    #expect(throws: GuardError.died) { try take(ScriptedKeeper(journal, isDead: true)) }
    #expect(journal.position("request") == nil)
  }

  @Test("a take whose time is over when the guard is ready does not ask the guest") func slow() throws {
    #expect(throws: CheckpointError.timedOut(guest: "web", seconds: 0.3)) {
      try take(ScriptedKeeper(journal, isSlow: true), timeout: 0.3)
    }
    #expect(journal.position("asked") == nil && journal.position("request") == nil)
  }

  @Test("a guest that cannot be resumed is left to the guard") func resumeFails() throws {
    #expect(throws: ScriptedGuest.Fault.resume) { try take(ScriptedKeeper(journal), fault: .resume) }
    _ = try order(["dismiss false"])
  }

  @Test("a resume that fails when the limit passes is tried again, and not taken for the guard's")
  func resumeFailsLate() throws {
    #expect(throws: ScriptedGuest.Fault.resume) { try take(ScriptedKeeper(journal), fault: .resume, isLate: true) }
    #expect(journal.position("handOver") == nil)
    _ = try order(["resume", "dismiss false"])
  }

  @Test("a guest that may suspend yet is left to the guard") func open() throws {
    #expect(throws: ScriptedGuest.Fault.awaitSuspended) {
      try take(ScriptedKeeper(journal), fault: .awaitSuspended, mayStillSuspend: true)
    }
    _ = try order(["dismiss false"])
  }

  @Test("a guest that did not suspend is not in the guard's hands") func refused() throws {
    #expect(throws: ScriptedGuest.Fault.awaitSuspended) { try take(ScriptedKeeper(journal), fault: .awaitSuspended) }
    let positions = try order(["asked", "released", "dismiss true"])
    #expect(positions == positions.sorted())
    #expect(journal.position("handOver") == nil)
  }
}
