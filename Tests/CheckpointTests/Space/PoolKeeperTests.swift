import DeviceMapper
import Dispatch
import Foundation
import Testing

@testable import Checkpoint

@Suite("The pools of a service that stays")
struct PoolKeeperTests {
  private let house: PoolHouse
  private let keeper: PoolKeeper

  init() throws {
    house = try PoolHouse(inFiles: true)
    keeper = PoolKeeper(store: house.store) { [pools = house.pools] in pools }
  }

  private func look(
    _ options: TakeOptions = TakeOptions(), _ cancellation: TakeCancellation = TakeCancellation()
  ) -> [PoolKeeper.Event] {
    var events: [PoolKeeper.Event] = []
    #expect(keeper.look(options, cancellation) { events.append($0) } == ["ckpt-p-pool"])
    return events
  }

  private func use(data percent: UInt64) {
    house.fake.kernel { $0.status.usedDataBlocks = 65536 * percent / 100 + 1 }
  }

  private static func words(_ percent: Int) -> String {
    "pool p: \(percent) % of its data are used; prune epochs, or enlarge its data: ckpt pool grow p --data-size SIZE"
  }

  @Test("are warned of once, whatever the numbers become, and again after it had gone")
  func once() {
    #expect(look() == [])
    use(data: 85)
    #expect(look() == [.warning(Self.words(85))])
    use(data: 86)
    #expect(look() == [])
    use(data: 50)
    #expect(look() == [])
    use(data: 90)
    #expect(look() == [.warning(Self.words(90))])
  }

  @Test("are warned of when they take no epoch any more, and of each reason for it")
  func refused() {
    use(data: 99)
    let events = look()
    #expect(events.count == 2 && events[0] == .warning(Self.words(99)))
    #expect("\(events)".contains("pool p: data nearly full"))
    house.fake.kernel { $0.status.mode = .outOfDataSpace }
    let next = look()
    #expect(next.count == 1 && "\(next)".contains("pool p: it is out of data space"))
    #expect(look() == [])
  }

  @Test("get larger metadata before they run out, where they lie in files")
  func growth() {
    house.fake.kernel { $0.status.usedMetadataBlocks = 12289 }
    #expect(look() == [.grown("pool p: its metadata ran low and was grown from 64.0M to 128.0M")])
    #expect(house.fake.kernel { $0.status.totalMetadataBlocks } == 32768)
    #expect(look() == [])
  }

  @Test("are warned of when their metadata cannot get larger")
  func noGrowth() throws {
    house.fake.kernel { $0.status.usedMetadataBlocks = 12289 }
    #expect(truncate("\(house.store)/p.metadata", 1 << 30) == 0)
    let events = look()
    #expect(events.count == 1 && "\(events)".contains("could not be enlarged: pool p: cannot be enlarged"))
    #expect(look() == [])
  }

  @Test("may be inactive, damaged or gone, and device-mapper away")
  func away() throws {
    use(data: 90)
    let device = house.fake.kernel { $0.devices.removeValue(forKey: "ckpt-p-pool") }
    #expect(look() == [])
    house.fake.kernel { $0.devices["ckpt-p-pool"] = device }
    #expect(look().count == 1)
    let file = URL(fileURLWithPath: "\(house.store)/pools/p/catalog.json")
    let catalog = try Data(contentsOf: file)
    try Data("{".utf8).write(to: file)
    var events: [PoolKeeper.Event] = []
    for _ in 0..<2 { #expect(keeper.look(TakeOptions(), TakeCancellation()) { events.append($0) } == []) }
    #expect(events.count == 1 && "\(events)".contains("pool p cannot be looked at: "))
    try catalog.write(to: file)
    let blind = PoolKeeper(store: house.store) { throw DeviceMapperError.unavailable(why: "no kernel") }
    for _ in 0..<2 { #expect(blind.look(TakeOptions(), TakeCancellation()) { events.append($0) } == []) }
    #expect(events.count == 2 && "\(events[1])".contains("the pools cannot be looked at: "))
    unlink(file.path)
    #expect(blind.look(TakeOptions(), TakeCancellation()) { events.append($0) } == [] && events.count == 2)
  }

  @Test("are not warned of while we read their metadata ourselves; what a killed reader of ours holds is released")
  func metadataSnapshot() throws {
    let snapshot = try MetadataSnapshot("p", in: house.pools)
    #expect(look() == [] && house.fake.kernel { $0.metadataHeld })
    _ = consume snapshot
    house.fake.kernel { $0.metadataHeld = true }
    let mark = URL(fileURLWithPath: "\(house.store)/pools/p/metadata-snapshot")
    try Data("1".utf8).write(to: mark)
    #expect(look() == [] && !house.fake.kernel { $0.metadataHeld })
    house.fake.kernel { $0.metadataHeld = true }
    #expect(look().count == 1 && house.fake.kernel { $0.metadataHeld })
    #expect(try Data(contentsOf: mark).isEmpty)
  }

  @Test("The command is told once, like a hook, and again when it failed")
  func command() throws {
    let folder = try HookFolder()
    var options = TakeOptions()
    use(data: 85)
    #expect(look(options).count == 1)
    // Configured afterwards.
    options.notify = try folder.program("broken", "echo no mail; exit 1")
    for _ in 0..<2 {
      #expect(look(options) == [.warning("notify-command \(folder.path)/broken failed with status 1: no mail")])
    }
    options.notify = try folder.program(
      "tell", #"echo "$CKPT_HOOK $CKPT_RESULT $CKPT_POOL $CKPT_STORE $CKPT_ERROR${CKPT_GUEST-}" >>"$said""#)
    for _ in 0..<2 { #expect(look(options) == []) }
    #expect(folder.said == ["notify warning p \(house.store) \(Self.words(85))"])
  }

  @Test("A look that is told to stop waits neither for the command nor for a take that has the pool")
  func cancelled() throws {
    let folder = try HookFolder()
    var options = TakeOptions()
    options.notify = try folder.program("tell", "sleep 600")
    options.hooks.seconds = 600
    use(data: 85)
    func lookAndStop() -> [PoolKeeper.Event] {
      let cancellation = TakeCancellation()
      DispatchQueue.global().asyncAfter(deadline: .now() + .milliseconds(50)) { cancellation.cancel() }
      return look(options, cancellation)
    }
    #expect(lookAndStop() == [.warning(Self.words(85))])
    house.fake.kernel { $0.status.usedMetadataBlocks = 12289 }
    let lock = try PoolFolder(store: house.store, name: "p").lock(wait: 0)
    #expect(lookAndStop() == [])
    withExtendedLifetime(lock) {}
  }
}
