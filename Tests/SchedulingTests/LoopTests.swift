import EpochStore
import Foundation
import Synchronization
import Testing

@testable import Scheduling

@Suite("The scheduler's loop", .timeLimit(.minutes(1))) struct LoopTests {
  @Test("It takes, prunes by the policy, and sleeps until the next run")
  func takes() async throws {
    let schedule = try Schedule(
      guest: "web", timing: .every(Interval("5m")!), maxPauseSeconds: 0.5, keep: policy(3), since: LoopBench.start)
    let bench = try LoopBench([schedule])
    bench.run()
    for second in [300, 600, 900] as [Int64] {
      #expect(
        await bench.next(3) == ["take web 0.5", "prune id-web last 3", "web: taken(epoch: 7, pruneProblem: nil)"])
      await bench.clock.move(to: second)
    }
    await bench.stop()
    let status = try #require(await bench.loop.status().first)
    #expect(status.record.runs >= 3 && status.record.failed <= 1 && status.nextRuns.count == 3)
  }

  @Test("Without a policy nothing is pruned; after a failed take neither, and the next is as planned")
  func noPrune() async throws {
    let attempts = Mutex(0)
    let bench = try LoopBench([web(keep: policy(3)), schedule("db", every: "1h", since: LoopBench.start)]) { run in
      if run.guest == "web",
        attempts.withLock({
          $0 += 1
          return $0
        }) == 1
      {
        throw StoreError.invalid("no\nroom")
      }
      return 1
    }
    bench.run()
    let first = await bench.next(4)
    #expect(
      Swift.Set(first) == [
        "take web -", "take db -", "db: taken(epoch: 1, pruneProblem: nil)", "web: failed(\"no\\nroom\")",
      ])
    await bench.clock.move(to: 300)
    #expect(await bench.next(3) == ["take web -", "prune id-web last 3", "web: taken(epoch: 1, pruneProblem: nil)"])
    await bench.stop()
    #expect(try bench.records.map(\.runs) == [1, 2] && bench.records.map(\.failed) == [0, 1])
  }

  @Test("A take has the policy of its schedule, to make room by")
  func policyOfTake() async throws {
    let told = AsyncStream.makeStream(of: RetentionPolicy.self)
    let bench = try LoopBench([web(keep: policy(3))]) { run in
      told.continuation.yield(run.keep)
      return 1
    }
    bench.run()
    #expect(await told.stream.first { _ in true } == policy(3))
    await bench.stop()
  }

  @Test("A pruning that fails does not make the take a failed one, and is told")
  func failedPrune() async throws {
    let bench = try LoopBench([web(keep: policy(3))], prune: { _, _ in throw StoreError.invalid("locked") })
    bench.run()
    #expect(await bench.next(3).last == "web: taken(epoch: 7, pruneProblem: Optional(\"locked\"))")
    await bench.stop()
    #expect(try bench.records[0].pruneProblem == "locked" && bench.records[0].failed == 0)
  }

  @Test("The policy that holds after the take is the one to prune by", arguments: [true, false])
  func policyChanged(removed: Bool) async throws {
    let gate = Gate()
    let bench = try LoopBench([web(keep: policy(3))]) { _ in
      try await gate.pass()
      return 1
    }
    bench.run()
    #expect(await bench.next(1) == ["take web -"])
    let changed = try web(keep: policy(100))
    try bench.file.edit { $0 = removed ? [] : [changed] }
    gate.open()
    #expect(await bench.next(1) == [removed ? "web: taken(epoch: 1, pruneProblem: nil)" : "prune id-web last 100"])
    await bench.stop()
  }

  @Test("No two runs of a guest, and no more guests than allowed")
  func overlap() async throws {
    let gate = Gate()
    let bench = try LoopBench([web(), schedule("zz", every: "1h", since: LoopBench.start)], takesAtOnce: 1) { run in
      if run.guest == "web" { try await gate.pass() }
      return 1
    }
    bench.run()
    #expect(await bench.next(1) == ["take web -"])
    await bench.clock.move(to: 300)
    await bench.clock.move(to: 600)
    #expect(await bench.loop.status().map(\.state) == [.running, .due])
    await bench.clock.move(to: 900)
    gate.open()
    #expect(
      await bench.next(3) == [
        "web: taken(epoch: 1, pruneProblem: nil)", "take zz -", "zz: taken(epoch: 1, pruneProblem: nil)",
      ])
    await bench.stop()
    #expect(try bench.records.map(\.skipped).first ?? 0 >= 2)
  }

  @Test("As many at a time as are allowed now")
  func moreAtOnce() async throws {
    let gate = Gate()
    let bench = try LoopBench([web(), schedule("zz", every: "1h", since: LoopBench.start)], takesAtOnce: 1) { _ in
      try await gate.pass()
      return 1
    }
    bench.run()
    #expect(await bench.next(1) == ["take web -"])
    bench.atOnce.value = 2
    bench.loop.reload()
    #expect(await bench.next(1) == ["take zz -"])
    gate.open()
    await bench.stop()
  }

  // MARK: Its end, and the next beginning

  @Test("When it is cancelled it waits for its runs, which are cancelled, and remembers them")
  func cancelled() async throws {
    let gate = Gate()
    let bench = try LoopBench([web(keep: policy(1))]) { _ in
      try await gate.pass()
      return 1
    }
    bench.run()
    #expect(await bench.next(1) == ["take web -"])
    await bench.stop()
    let record = try #require(try bench.records.first)
    #expect(record.runs == 1 && record.failed == 1 && !record.isUnfinished)
    #expect(try bench.folder.names == ["schedule-runs.json", "schedule-runs.lock", "schedules.json"])
  }

  @Test("When it is told to stop it begins nothing new, and notes what its runs come to")
  func stopped() async throws {
    let gate = Gate()
    let bench = try LoopBench([web(keep: policy(1))]) { _ in
      try await gate.pass()
      return 9
    }
    bench.run()
    #expect(await bench.next(1) == ["take web -"])
    bench.loop.stop()
    bench.loop.reload()
    gate.open()
    await bench.end()
    #expect(await bench.next(1)[0].hasPrefix("web: taken(epoch: 9, pruneProblem: Optional(\"the service ended"))
    let record = try #require(try bench.records.first)
    #expect(record.lastEpoch == 9 && record.lastSuccess == LoopBench.start && record.failed == 0)
    #expect(record.lastSlot == LoopBench.start && record.previousSlot == nil && record.problem == nil)
  }

  @Test("A run that the service's end kept from an epoch is made up by the next service")
  func madeUp() async throws {
    let first = try LoopBench([schedule("web", calendar: "600", since: LoopBench.start)]) { _ in
      throw CancellationError()
    }
    first.run()
    await first.clock.move(to: 600)
    #expect(await first.next(2) == ["take web -", "web: interrupted"])
    await first.stop()
    let next = try LoopBench([], in: first.folder, at: LoopBench.start + 700_000)
    next.run()
    #expect(await next.next(2) == ["take web -", "web: taken(epoch: 7, pruneProblem: nil)"])
    await next.stop()
    let record = try #require(try next.records.first)
    #expect(record.runs == 2 && record.failed == 1 && record.missed == 0 && record.problem == nil)
  }

  @Test("A run in which the service died is made up once, not at every start")
  func diedTwice() {
    let (first, second, third) = (LoopBench.start, LoopBench.start + 300_000, LoopBench.start + 600_000)
    var record = RunRecord(guest: "web")
    record.begin(slot: first, at: first)
    record.end(.taken(epoch: 1), at: first)
    record.begin(slot: second, at: second)
    record.endUnfinished(at: second)
    #expect(record.lastSlot == first && record.diedIn == second && !record.isUnfinished)
    record.begin(slot: second, at: second)
    record.endUnfinished(at: second)
    #expect(record.lastSlot == second && record.diedIn == second && record.failed == 2)
    record.begin(slot: third, at: third)
    record.end(.taken(epoch: 2), at: third)
    #expect(record.diedIn == nil)
    record.begin(slot: third + 300_000, at: third)
    record.endUnfinished(at: third)
    #expect(record.lastSlot == third)
    // As a service left it that did not note the slot before.
    record.begin(slot: third + 600_000, at: third)
    (record.previousSlot, record.diedIn) = (nil, nil)
    record.endUnfinished(at: third)
    #expect(record.lastSlot == third + 600_000)
  }

  @Test("Of two services on a store one runs the schedules; the other does when that one ends")
  func twoServices() async throws {
    let gate = Gate()
    let first = try LoopBench([web()]) { _ in
      try await gate.pass()
      return 1
    }
    first.run()
    #expect(await first.next(1) == ["take web -"])
    let second = try LoopBench([], in: first.folder)
    second.run()
    #expect(await second.next(1)[0].hasPrefix("not in charge: process \(getpid()) runs those of this store"))
    #expect(ScheduleLock.holder(store: first.folder.path) == getpid())
    // The other one's run was not taken for a dead one.
    #expect(try first.records.map(\.isUnfinished) == [true])
    gate.open()
    _ = await first.next(1)
    await first.stop()
    #expect(ScheduleLock.holder(store: first.folder.path) == nil)
    await second.clock.move(to: 60)
    #expect(await second.next(1) == ["in charge"])
    await second.clock.move(to: 300)
    #expect(await second.next(1) == ["take web -"])
    await second.stop()
    #expect(try second.records.map(\.failed) == [0])
  }

  @Test("A store that is made later has its schedules run")
  func laterStore() async throws {
    let folder = try TemporaryFolder()
    try FileManager.default.removeItem(atPath: folder.path)
    let bench = try LoopBench([], in: folder)
    bench.run()
    try FileManager.default.createDirectory(atPath: folder.path, withIntermediateDirectories: false)
    let schedule = try web()
    try bench.file.edit { $0 = [schedule] }
    bench.loop.reload()
    #expect(await bench.next(1) == ["take web -"])
    await bench.stop()
  }

  @Test("The next service makes up what was missed, once, and knows of a run that died")
  func restarted() async throws {
    var record = RunRecord(guest: "web")
    record.begin(slot: LoopBench.start, at: LoopBench.start)
    let folder = try TemporaryFolder()
    try RunFile(store: folder.path).write([record])
    let bench = try LoopBench([web()], in: folder, at: LoopBench.start + 3_600_000 + 60_000)
    bench.run()
    #expect(await bench.next(2) == ["take web -", "web: taken(epoch: 7, pruneProblem: nil)"])
    await bench.clock.move(to: 240)
    #expect(await bench.next(1) == ["take web -"])
    await bench.stop()
    let last = try #require(try bench.records.first)
    #expect(last.missed == 12 && last.runs == 3 && last.failed == 1)
  }

  @Test("Records that cannot be read or written are told of, and schedules go on", arguments: [true, false])
  func records(isReadable: Bool) async throws {
    let folder = try TemporaryFolder()
    if isReadable {
      // A folder with something in it cannot be replaced.
      try FileManager.default.createDirectory(
        atPath: folder.path + "/schedule-runs.json.partial/x", withIntermediateDirectories: true)
    } else {
      try folder.write("schedule-runs.json", "{")
    }
    let bench = try LoopBench([web()], in: folder)
    bench.run()
    #expect(await bench.next(3).contains("records"))
    await bench.clock.move(to: 300)
    #expect(await bench.next(2) == ["take web -", "web: taken(epoch: 7, pruneProblem: nil)"])
    await bench.stop()
    #expect(
      isReadable
        ? !FileManager.default.fileExists(atPath: folder.path + "/schedule-runs.json") : try bench.records[0].runs == 2)
  }

  // MARK: Clocks

  @Test("When the clock is set, calendars are looked at anew")
  func clockSet() async throws {
    let bench = try LoopBench([schedule("web", calendar: "600", since: LoopBench.start)])
    bench.run()
    await bench.clock.move(to: 600)
    #expect(await bench.next(2).first == "take web -")
    bench.clock.set(590)
    await bench.clock.move(to: 610)
    #expect(await bench.next(1) == ["take web -"])
    await bench.stop()
  }

  @Test("The host's clocks go on, and a sleep ends when asked or when cancelled")
  func systemClock() async throws {
    let clock = SystemClock()
    let before = clock.now
    try await clock.sleep(until: before.uptime + 20)
    #expect(clock.now.uptime >= before.uptime + 20)
    let forever = Task { try await clock.sleep(until: before.uptime + 86_400_000) }
    forever.cancel()
    await #expect(throws: CancellationError.self) { try await forever.value }
    let watching = Task { for await _ in clock.settings() {} }
    watching.cancel()
    await watching.value
  }
}
