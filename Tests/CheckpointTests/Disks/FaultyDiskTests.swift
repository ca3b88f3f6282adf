import DeviceMapper
import Testing

@testable import Checkpoint

/// One disk of a pool is wrong, that of guest `bad`. Guest `web` has two others, made before it; guest `db` one, made after it.
struct FaultyDiskTests {
  enum Fault: CaseIterable {
    /// The pool lost its content.
    case lost
    /// Its device shows something else.
    case otherTable
    /// Another program's device bears its name.
    case foreign
    /// Its device stands suspended, and cannot be resumed.
    case stuck
  }

  private let house: PoolHouse
  private let bad = "ckpt-bad-xvda"
  private static let uuid = "6f1c2f0e-0000-4000-8000-000000000009"
  private var disks: Disks { Disks(house.pools) }
  private var history: DiskHistory { DiskHistory(house.pools, guestUUID: Self.uuid) }

  init() throws {
    house = try PoolHouse()
    for guest in ["bad", "db"] { _ = try disks.create(guest: guest, vdev: "xvda", size: 1 << 20) }
    house.fake.write("mine", to: bad)
  }

  private func volume() throws -> PoolCatalog.Volume? { try house.catalog().volumes.first { $0.device == bad } }

  private func damage(_ fault: Fault) throws {
    let id = try #require(try volume()?.thinID)
    // Metadata are repaired while the pool is not active.
    if fault == .lost { house.fake.restart(reboot: true) }
    house.fake.kernel { kernel in
      switch fault {
      case .lost: kernel.contents[id] = nil
      case .otherTable: kernel.devices[bad]?.table = [.error(sectors: 2048)]
      case .foreign: kernel.devices[bad] = Self.foreign
      case .stuck:
        kernel.devices[bad]?.suspended = true
        kernel.stuck = bad
      }
    }
  }

  private static let foreign = FakePool.Device(
    uuid: "LVM-x", number: DeviceNumber(major: 253, minor: 77), table: [.error(sectors: 2048)])

  /// An epoch of the bad disk's guest.
  private func take(_ epoch: Int) throws {
    let number = try #require(house.fake.kernel { $0.devices[bad]?.number })
    let disk = GuestDisk(vdev: "xvda", number: number, path: "/dev/mapper/\(bad)", readOnly: false)
    let disks = try GuestDisks(pools: house.pools, guest: "bad", guestUUID: Self.uuid, disks: [disk])
    try disks.reserve(epoch: epoch)
    _ = try disks.snapshot()
    try disks.commit()
  }

  private func faults() throws -> [String] { try house.pools.ensureActive("p") }

  @Test(arguments: Fault.allCases) func othersGoOn(_ fault: Fault) throws {
    try damage(fault)
    let faults = try faults()
    #expect(faults.count == 1 && faults[0].contains(bad), "\(faults)")
    #expect(house.fake.kernel { $0.devices["ckpt-db-xvda"] } != nil)
    try house.take(1)
    for device in house.devices { house.fake.write("second", to: device) }
    try house.history.checkRollback(to: 1, users: .nobody)
    let done = try house.history.rollBack(to: 1)
    #expect(house.devices.map { house.fake.content(of: $0) } == ["first", "first"])
    #expect(try house.history.undo(done))
    #expect(house.devices.map { house.fake.content(of: $0) } == ["second", "second"])
    _ = try disks.clone("copy", ofGuest: PoolHouse.uuid, epoch: 1)
    try disks.remove(guest: "copy")
    try house.history.forget(epoch: 1)
    try house.pools.grow("p")
    try disks.remove(guest: "db")
    #expect(try self.faults() == faults)
  }

  @Test(arguments: [Fault.otherTable, .foreign, .stuck]) func itsGuestIsRefusedUntilItIsRight(_ fault: Fault) throws {
    try take(1)
    try damage(fault)
    let before = try house.catalog()
    #expect(throws: (any Error).self) { try take(2) }
    #expect(throws: (any Error).self) { try history.checkRollback(to: 1, users: .nobody) }
    #expect(throws: (any Error).self) { try history.rollBack(to: 1) }
    #expect(throws: (any Error).self) { try disks.clone("copy", ofGuest: Self.uuid, epoch: 1) }
    #expect(try house.catalog() == before)
    // What the messages say to do.
    house.fake.kernel { kernel in
      kernel.stuck = nil
      kernel.devices[bad] = nil
    }
    #expect(try faults().isEmpty)
    #expect(house.fake.content(of: bad) == "mine")
    try take(2)
    try house.expectSettled("after it was put right")
  }

  /// A guest may read disks of which its epochs have nothing.
  @Test(arguments: Fault.allCases) func whoReadsItIsRefusedAndWhoReadsAnotherIsNot(_ fault: Fault) throws {
    try damage(fault)
    try house.pools.requireRight(["/dev/null", "/nowhere/image"])
    if fault == .lost { #expect(house.fake.kernel { $0.devices.isEmpty }) }
    // Its device may be there only now.
    try house.pools.requireRight(["/dev/null", "/dev/mapper/ckpt-db-xvda"])
    #expect(house.fake.kernel { $0.devices["ckpt-db-xvda"] } != nil)
    #expect {
      try house.pools.requireRight(["/dev/null", "/dev/mapper/\(bad)"])
    } throws: { "\($0)".contains(bad) }
  }

  /// It was seen to be right when the take began.
  @Test func aTakeFindsADiskThatBecameWrongMeanwhile() throws {
    let number = try #require(house.fake.kernel { $0.devices[bad]?.number })
    let disk = GuestDisk(vdev: "xvda", number: number, path: "/dev/mapper/\(bad)", readOnly: false)
    let disks = try GuestDisks(pools: house.pools, guest: "bad", guestUUID: Self.uuid, disks: [disk])
    try disks.check(epoch: 1)
    try damage(.otherTable)
    #expect(throws: DiskError.self) { try disks.check(epoch: 1) }
    #expect(throws: DiskError.self) { try disks.reserve(epoch: 1) }
    #expect(try house.catalog().intent == nil)
  }

  // MARK: Giving it up

  @Test(arguments: Fault.allCases) func itCanBeRemoved(_ fault: Fault) throws {
    try damage(fault)
    #expect(try disks.remove(guest: "bad", vdev: "xvda").map(\.path) == ["/dev/mapper/\(bad)"])
    let device = house.fake.kernel { $0.devices[bad] }
    #expect(device == (fault == .foreign ? Self.foreign : nil))
    #expect(try faults().isEmpty)
    try house.expectSettled("\(fault)")
  }

  @Test func whileItIsUsedItStays() throws {
    try damage(.otherTable)
    house.fake.kernel { $0.devices[bad]?.openCount = 1 }
    #expect(throws: DiskError.inUse(device: bad)) { try disks.remove(guest: "bad") }
    #expect(try volume() != nil)
    // Who uses what only bears its name does not use it.
    try damage(.foreign)
    house.fake.kernel { $0.devices[bad]?.openCount = 1 }
    try disks.remove(guest: "bad")
    #expect(house.fake.kernel { $0.devices[bad]?.openCount } == 1)
    #expect(try volume() == nil)
  }

  @Test(arguments: Fault.allCases, 1...3) func aKilledRemovalIsSettled(_ fault: Fault, step: Int) throws {
    try damage(fault)
    _ = try faults()
    house.fake.kernel { ($0.changes, $0.dieBefore) = (0, step) }
    _ = try? disks.remove(guest: "bad")
    house.fake.restart(reboot: false)
    house.fake.kernel { $0.stuck = nil }
    _ = try faults()
    if try volume() != nil { try disks.remove(guest: "bad") }
    #expect(try faults().isEmpty)
    try house.expectSettled("\(fault), step \(step)")
  }

  // MARK: Going back

  @Test func aLostDiskComesBackWithAnEpoch() throws {
    try take(1)
    house.fake.write("later", to: bad)
    try damage(.lost)
    let lost = DiskError.lost(device: bad, pool: "p", guest: "bad", vdev: "xvda", isAdopted: false)
    #expect(try faults() == ["\(lost)"])
    _ = try disks.clone("copy", ofGuest: Self.uuid, epoch: 1)
    #expect(house.fake.content(of: "ckpt-copy-xvda") == "mine")
    try history.checkRollback(to: 1, users: .nobody)
    let done = try history.rollBack(to: 1)
    #expect(house.fake.content(of: bad) == "mine")
    // There is nothing to go back to.
    #expect(try !history.undo(done))
    #expect(house.fake.content(of: bad) == "mine")
    #expect(history.remainder(of: done, epoch: 1) == "disk \(bad), which was lost, shows epoch 1")
    try history.commitRollback()
    #expect(try faults().isEmpty)
    try house.expectSettled("after a restore")
  }

  /// The first step is that of opening the pool: its device is refused.
  @Test(arguments: 2...5) func aKilledRestoreOfALostDiskIsSettled(step: Int) throws {
    try take(1)
    try damage(.lost)
    _ = try faults()
    house.fake.kernel { ($0.changes, $0.dieAfter) = (0, step) }
    #expect(throws: FakePool.Died.self) { try history.rollBack(to: 1) }
    house.fake.restart(reboot: false)
    let isWrong = try !faults().isEmpty
    #expect(isWrong == (house.fake.content(of: bad) == nil))
    if isWrong { try history.rollBack(to: 1) }
    #expect(house.fake.content(of: bad) == "mine")
    try history.commitRollback()
    try house.expectSettled("after step \(step)")
  }

  /// A rollback was killed after its device was swapped; then the pool lost what was to be shown again.
  @Test func whatCannotBeTakenBackKeepsNobody() throws {
    try take(1)
    house.fake.write("later", to: bad)
    let old = try #require(try volume()?.thinID)
    house.fake.kernel { ($0.changes, $0.dieAfter) = (0, 2) }
    #expect(throws: FakePool.Died.self) { try history.rollBack(to: 1) }
    house.fake.restart(reboot: false)
    house.fake.kernel { $0.contents[old] = nil }
    #expect(try faults().first?.contains("the kernel runs") == true)
    try house.take(1)
    house.fake.kernel { $0.devices[bad] = nil }
    #expect(try faults().first?.contains("pool p has nothing of it any more") == true)
    try history.rollBack(to: 1)
    #expect(house.fake.content(of: bad) == "mine")
    try history.commitRollback()
    try house.expectSettled("after a restore")
  }

  /// It was killed before that, and another program took the name.
  @Test func anothersDeviceIsNotTurnedBack() throws {
    try take(1)
    house.fake.kernel { ($0.changes, $0.dieAfter) = (0, 1) }
    #expect(throws: FakePool.Died.self) { try history.rollBack(to: 1) }
    house.fake.restart(reboot: false)
    try damage(.foreign)
    #expect(try faults().count == 1)
    #expect(house.fake.kernel { $0.devices[bad] } == Self.foreign)
    try house.take(1)
  }
}
