import Checkpoint
import Foundation
import ServiceLifecycle
import Synchronization
import Testing

@testable import ckptd

@Suite("The daemon looks after pools")
struct PoolServiceTests {
  /// What there is to be watched, what is watched, and how often it was looked.
  private final class Scene: Sendable {
    let devices = Mutex<[String]>([])
    let watched = Mutex<[[String]]>([])
    let changed = Mutex<(@Sendable (String) -> Void)?>(nil)
    let looks = Atomic(0)
    var count: Int { looks.load(ordering: .sequentiallyConsistent) }

    func look() -> [String] {
      looks.add(1, ordering: .sequentiallyConsistent)
      return devices.withLock { $0 }
    }
    func watch(_ devices: [String], _ told: @escaping @Sendable (String) -> Void) -> any Sendable {
      watched.withLock { $0.append(devices) }
      changed.withLock { $0 = told }
      return devices
    }
  }

  private struct Deaf: Error, CustomStringConvertible { let description = "no control node" }

  private func run(_ service: PoolService, _ body: (ServiceGroup) async throws -> Void) async throws {
    let group = ServiceGroup(services: [service], logger: service.logger)
    try await withThrowingTaskGroup(of: Void.self) { tasks in
      tasks.addTask { try await group.run() }
      do { try await body(group) } catch {
        await group.triggerGracefulShutdown()
        throw error
      }
      await group.triggerGracefulShutdown()
      try await tasks.waitForAll()
    }
  }

  @Test("at once, and when the kernel tells of one; what comes is watched from then on")
  func events() async throws {
    let scene = Scene()
    scene.devices.withLock { $0 = ["a"] }
    let service = PoolService(
      look: { _ in scene.look() }, watch: { scene.watch($0, $1) }, interval: .seconds(1 << 20),
      logger: LogBook().logger)
    try await run(service) { _ in
      // Once more when the watch has begun: what happened before is seen.
      try await until { scene.count == 2 }
      scene.devices.withLock { $0 = ["a", "b"] }
      scene.changed.withLock { $0 }?("a")
      try await until { scene.count == 4 }
      scene.changed.withLock { $0 }?("b")
      try await until { scene.count == 5 }
    }
    #expect(scene.watched.withLock { $0 } == [["a"], ["a", "b"]])
  }

  @Test("again and again where nobody tells, and says once that nobody does")
  func interval() async throws {
    let (scene, log) = (Scene(), LogBook())
    scene.devices.withLock { $0 = ["a"] }
    let service = PoolService(
      look: { _ in scene.look() }, watch: { _, _ in throw Deaf() }, interval: .milliseconds(1), logger: log.logger)
    try await run(service) { _ in try await until { scene.count > 3 } }
    #expect(log.all.count { $0.contains("events of pools are not heard") && $0.contains("no control node") } == 1)
  }

  @Test("and has what else is to be looked at looked at before, also where there is no pool")
  func first() throws {
    let folder = try TemporaryFolder()
    let looks = Mutex(0)
    let service = PoolService(
      PoolKeeper(Engine(storePath: folder.path)), first: { looks.withLock { $0 += 1 } }, options: { TakeOptions() },
      logger: LogBook().logger)
    #expect(service.look(TakeCancellation()) == [])
    #expect(looks.withLock { $0 } == 1)
  }

  @Test("and is not held up by it when it ends")
  func shutdown() async throws {
    let gate = Gate()
    let service = PoolService(
      look: { cancellation in
        gate.pass()
        while !cancellation.isCancelled { usleep(1000) }
        return ["a"]
      }, watch: { _, _ in throw Deaf() }, logger: LogBook().logger)
    try await run(service) { _ in
      gate.open()
      await gate.awaitReached()
    }
  }
}
