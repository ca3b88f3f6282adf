import EpochStore
import Foundation
import Synchronization
import Testing

@testable import Scheduling

@Suite("The scheduler's loop and its file", .timeLimit(.minutes(1))) struct LoopFileTests {
  @Test("A new schedule counts at once when it is told")
  func reload() async throws {
    let bench = try LoopBench([])
    bench.run()
    let schedule = try web()
    try bench.file.edit { $0 = [schedule] }
    bench.loop.reload()
    #expect(await bench.next(2).first == "take web -")
    await bench.clock.move(to: 300)
    #expect(await bench.next(2).first == "take web -")
    await bench.stop()
  }

  @Test("Not told, it is seen when the loop wakes")
  func noticed() async throws {
    let gate = Gate()
    let bench = try LoopBench([web()]) { _ in
      try await gate.pass()
      return 1
    }
    bench.run()
    #expect(await bench.next(1) == ["take web -"])
    await bench.clock.sleeper(until: 300)
    let slower = try web("10m")
    try bench.file.edit { $0 = [slower] }
    await bench.clock.move(to: 300)
    await bench.clock.sleeper(until: 600)
    gate.open()
    await bench.clock.move(to: 600)
    #expect(await bench.next(2) == ["web: taken(epoch: 1, pruneProblem: nil)", "take web -"])
    await bench.stop()
  }

  @Test("A file that cannot be used is told of once; what was read before holds, until it is mended")
  func damaged() async throws {
    let bench = try LoopBench([web()])
    bench.run()
    _ = await bench.next(2)
    try bench.folder.write("schedules.json", "{")
    bench.loop.reload()
    #expect(await bench.next(1) == ["refused"])
    #expect(bench.loop.problem?.contains("schedules.json") == true)
    #expect(bench.loop.problem?.hasSuffix("; those that were last read still hold") == true)
    bench.loop.reload()
    await bench.clock.move(to: 300)
    #expect(await bench.next(2).first == "take web -")
    let slower = try LoopBench([web("10m")]).folder.read("schedules.json")
    try bench.folder.write("schedules.json", slower)
    bench.loop.reload()
    await bench.clock.move(to: 900)
    #expect(await bench.next(1) == ["take web -"])
    #expect(bench.loop.problem == nil)
    await bench.stop()
  }

  @Test("One that is written by hand is seen within a minute, though nothing is due", arguments: [true, false])
  func byHand(hasStore: Bool) async throws {
    let folder = try TemporaryFolder()
    if !hasStore { try FileManager.default.removeItem(atPath: folder.path) }
    let bench = try LoopBench([], in: folder)
    bench.run()
    await bench.clock.sleeper(until: 60)
    if !hasStore { try FileManager.default.createDirectory(atPath: folder.path, withIntermediateDirectories: false) }
    let schedule = try web()
    try bench.file.edit { $0 = [schedule] }
    await bench.clock.move(to: 60)
    #expect(await bench.next(1) == ["take web -"])
    await bench.stop()
  }

  /// Schedules of `db`, with a fault, and of `web`; the same without the fault.
  private func faultyFile() throws -> (faulty: String, mended: String) {
    let schedules = [try schedule("db", every: "1h", since: LoopBench.start), try web()]
    let mended = try LoopBench(schedules).folder.read("schedules.json")
    return (mended.replacing(#""every" : "1h""#, with: #""evry" : "1h""#), mended)
  }

  @Test("Of a file with a fault at the start what can be read is run, and told; mended by hand, all of it")
  func faultyAtStart() async throws {
    let (faulty, mended) = try faultyFile()
    let folder = try TemporaryFolder()
    try folder.write("schedules.json", faulty)
    var record = RunRecord(guest: "db")
    record.skipped = 7
    try RunFile(store: folder.path).write([record])
    let bench = try LoopBench([], in: folder)
    bench.run()
    #expect(await bench.next(3) == ["refused", "take web -", "web: taken(epoch: 7, pruneProblem: nil)"])
    #expect(bench.loop.problem?.contains("schedules[0]: unknown key 'evry'") == true)
    #expect(bench.loop.problem?.hasSuffix("; until then only those of web run") == true)
    await bench.clock.sleeper(until: 60)
    try folder.write("schedules.json", mended)
    await bench.clock.move(to: 60)
    #expect(await bench.next(2) == ["take db -", "db: taken(epoch: 7, pruneProblem: nil)"])
    #expect(bench.loop.problem == nil)
    await bench.stop()
    // What came of its runs was not forgotten meanwhile.
    #expect(try bench.records.first { $0.guest == "db" }?.skipped == 7)
  }

  @Test("Of a file that is no JSON nothing can be run at the start, which is told")
  func nothingToRun() async throws {
    let folder = try TemporaryFolder()
    try folder.write("schedules.json", "{")
    let bench = try LoopBench([], in: folder)
    bench.run()
    #expect(await bench.next(1) == ["refused"])
    #expect(bench.loop.problem?.hasSuffix("; until then no schedule runs") == true)
    #expect(await bench.loop.isInCharge)
    await bench.stop()
  }

  @Test("By a policy that is not what the file says any more nothing is removed, and that is told")
  func stalePolicy() async throws {
    let makesRoom = Mutex<[Bool]>([])
    let bench = try LoopBench([web(keep: policy(3))]) { run in
      makesRoom.withLock { $0.append(!run.removesNothing) }
      return 7
    }
    bench.run()
    #expect(await bench.next(3)[1] == "prune id-web last 3")
    await bench.clock.sleeper(until: 300)
    try bench.folder.write("schedules.json", "{")
    await bench.clock.move(to: 300)
    let told = await bench.next(3)
    #expect(told.prefix(2) == ["refused", "take web -"] && told[2].contains("those that were last read still hold"))
    await bench.stop()
    #expect(makesRoom.withLock { $0 } == [true, false])
    #expect(try bench.records[0].pruneProblem?.contains("mend the file") == true)
  }
}
