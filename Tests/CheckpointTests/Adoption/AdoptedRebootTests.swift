import DeviceMapper
import Testing

@testable import Checkpoint

/// What happens to adopted disks behind our back: boots, and other tools.
struct AdoptedRebootTests {
  @Test(arguments: [false, true])
  func afterABootEveryPathShowsTheNewestContent(lvmWasFirst: Bool) throws {
    let web = try AdoptionHouse()
    try web.adopt()
    web.write("newest")
    try web.take(1)
    web.fake.restart(reboot: true)
    // Somebody who disregards the activation skip.
    if lvmWasFirst { try web.fake.activate(#require(LogicalVolume("vg0/web"))) }
    #expect(try web.house.pools.ensureActive("p").isEmpty)
    #expect(web.read() == "newest" && web.fake.content(of: web.new) == "newest")
    web.write("later")
    try web.house.history.rollBack(to: 1)
    #expect(web.read() == "newest")
  }

  @Test func whatStopsComesBack() throws {
    let web = try AdoptionHouse()
    try web.adopt()
    web.write("newest")
    try web.take(1)
    // The guest has its disk open.
    #expect(try web.house.pools.stop("p").contains(web.new))
    #expect(web.read() == "newest")
    web.fake.restart(reboot: true)
    #expect(try web.house.pools.ensureActive("p").isEmpty)
    let devices = web.fake.kernel { Set($0.devices.keys) }
    #expect(try web.house.pools.stop("p") == [])
    #expect(web.fake.kernel { $0.devices.keys.filter { $0.hasPrefix("ckpt-") } } == [])
    #expect(try web.house.pools.stop("p") == [])
    #expect(try web.house.pools.ensureActive("p").isEmpty)
    #expect(web.fake.kernel { Set($0.devices.keys) } == devices)
    #expect(web.read() == "newest" && web.fake.content(of: web.new) == "newest")
  }

  @Test(arguments: 1...9)
  func aStartThatWasKilledIsEndedByTheNext(step: Int) throws {
    let web = try AdoptionHouse()
    try web.adopt()
    web.write("newest")
    web.fake.restart(reboot: true)
    web.fake.kernel { ($0.changes, $0.dieAfter) = (0, step) }
    _ = try? web.house.pools.ensureActive("p")
    web.fake.restart(reboot: false)
    #expect(try web.house.pools.ensureActive("p").isEmpty)
    #expect(web.read() == "newest" && web.fake.content(of: web.new) == "newest")
  }

  /// The power goes at every step of an adoption.
  @Test(arguments: 1...14)
  func aPowerCutDuringAnAdoptionLosesNoWrite(step: Int) throws {
    let web = try AdoptionHouse()
    web.fake.kernel { ($0.changes, $0.dieAfter) = (0, step) }
    _ = try? web.adopt()
    web.fake.restart(reboot: false)
    try web.house.pools.resumeSuspended()
    // The guest's last write, by whichever table its device has.
    web.write("newest")
    web.fake.restart(reboot: true)
    web.fake.kernel { $0.volumes["vg0/web"]?.device.table = [web.plain] }
    #expect(try web.house.pools.ensureActive("p").isEmpty)
    try web.fake.activate(#require(LogicalVolume("vg0/web")))
    #expect(web.read() == "newest")
  }

  @Test func aTableThatLVMReplacedIsShoutedAbout() throws {
    let web = try AdoptionHouse()
    try web.adopt()
    try web.take(1)
    web.write("newest")
    web.refreshByLVM()
    let error = #expect(throws: AdoptionError.self) { try web.take(2) }
    #expect(error?.description.contains("IS NOT OURS ANY MORE") == true)
    #expect(error?.description.contains("0 2048 linear 8:16 2048") == true)
    #expect(error?.description.contains("ckpt release web xvda --discard") == true)
    // Others may still use the pool; it says what is wrong.
    #expect(try web.house.pools.ensureActive("p").count == 1)
    #expect(web.fake.kernel { $0.devices[web.old]?.table } == [web.plain])

    // No sample tells where the guest wrote meanwhile: the disk is not taken for sound again.
    web.stop()
    #expect(try web.house.pools.ensureActive("p").first?.contains("was written to since it was adopted") == true)
    #expect(web.fake.kernel { $0.devices[web.old]?.table } == [web.plain])
  }

  @Test func aTableThatLVMReplacedUnderNobodyIsPutRight() throws {
    let web = try AdoptionHouse()
    try web.adopt()
    try web.take(1)
    web.write("newest")
    web.stop()
    web.refreshByLVM()
    #expect(try web.house.pools.ensureActive("p").isEmpty)
    #expect(web.read() == "newest")
    web.start()
    try web.take(2)
    #expect(try web.origin()?.wasPassedBy == nil)
  }

  /// It was the take that saw it, nothing else opened the pool while the guest ran.
  @Test(arguments: [false, true])
  func aDiskThatWasUsedPastThePoolIsNeverTrustedAgain(reboot: Bool) throws {
    let web = try AdoptionHouse()
    try web.adopt()
    let expected = try web.take(1)
    web.write("newest")
    web.refreshByLVM()
    #expect(throws: AdoptionError.self) { try web.take(2) }
    #expect(try web.origin()?.wasPassedBy == true)
    web.stop()
    if reboot { web.fake.restart(reboot: true) }
    let error = AdoptionError.originChanged(guest: "web", vdev: "xvda", volume: "vg0/web")
    #expect(try web.house.pools.ensureActive("p") == ["\(error)"])
    if !reboot { #expect(throws: error) { try web.house.history.check(epoch: 1, expected: expected) } }
    #expect(throws: error) { try web.house.history.checkRollback(to: 1, users: .nobody) }
    #expect(throws: error) { try web.house.history.rollBack(to: 1) }
    #expect(throws: error) { try Release(web.house.pools, guest: "web").perform() }
    #expect(try web.house.catalog().epochs.count == 1)
    // The way out.
    _ = try Release(web.house.pools, guest: "web").perform(discard: true)
    #expect(web.read() == "before")
    try web.expectPlain("after a discarding release")
    // After a boot its device has another number.
    guard !reboot else { return }
    web.start()
    try web.adopt()
    #expect(try web.origin()?.wasPassedBy == nil)
  }

  @Test func whoDoesNotKnowOfSuchADiskDoesNotReadTheCatalogue() throws {
    let web = try AdoptionHouse()
    try web.adopt()
    func format() throws -> Int? {
      let text = String(decoding: try DurableFile.read("\(web.house.store)/pools/p/catalog.json"), as: UTF8.self)
      return text.firstMatch(of: /"format" *: *([0-9]+)/).flatMap { Int($0.1) }
    }
    #expect(try format() == 2)
    web.refreshByLVM()
    #expect(throws: AdoptionError.self) { try web.take(1) }
    #expect(try format() == 3)
  }

  @Test func anOriginThatWasWrittenToGuardsEveryRestore() throws {
    let web = try AdoptionHouse()
    try web.adopt()
    let expected = try web.take(1)
    try web.house.history.check(epoch: 1, expected: expected)
    web.refreshByLVM()
    web.write("past the pool")
    #expect(throws: AdoptionError.originChanged(guest: "web", vdev: "xvda", volume: "vg0/web")) {
      try web.house.history.check(epoch: 1, expected: expected)
    }
    web.stop()
    #expect(try web.house.pools.ensureActive("p").count == 1)
    #expect(throws: AdoptionError.self) { try web.house.history.rollBack(to: 1) }
    #expect(web.fake.kernel { $0.devices[web.old]?.table } == [web.plain])
    // The way out.
    _ = try Release(web.house.pools, guest: "web").perform(discard: true)
    #expect(web.read() == "past the pool")
    try web.expectPlain("after a discarding release")
  }

  @Test func aVolumeThatLVMRenamedIsShoutedAbout() throws {
    let web = try AdoptionHouse()
    try web.adopt()
    web.refreshByLVM()
    web.fake.kernel { $0.devices["vg0-other"] = $0.devices.removeValue(forKey: web.old) }
    let error = #expect(throws: AdoptionError.self) { try web.take(1) }
    #expect(error?.description.contains("IS NOT OURS ANY MORE") == true)
    #expect(try web.house.pools.ensureActive("p").first?.contains("vg0-other") == true)
    #expect(try web.origin()?.wasPassedBy == true)
  }

  /// As a repair of the pool's metadata may leave it.
  @Test(arguments: [false, true])
  func aDiskOfWhichThePoolHasNothingAnyMoreGoesBackToAnEpochOrIsGivenUp(discard: Bool) throws {
    let web = try AdoptionHouse()
    try web.adopt()
    web.write("newest")
    try web.take(1)
    let id = try #require(try web.house.catalog().volumes.first?.thinID)
    web.fake.restart(reboot: true)
    web.fake.kernel { $0.contents[id] = nil }
    let lost = DiskError.lost(device: web.new, pool: "p", guest: "web", vdev: "xvda", isAdopted: true)
    #expect(try web.house.pools.ensureActive("p") == ["\(lost)"])
    // No guest can be started on what the disk was before it was adopted.
    #expect(web.fake.kernel { $0.devices[web.old] == nil })
    #expect(throws: lost) { try Release(web.house.pools, guest: "web").perform() }
    if discard {
      try Release(web.house.pools, guest: "web").perform(discard: true)
      #expect(web.read() == "before")
      return try web.expectPlain("after a discarding release")
    }
    try web.house.history.checkRollback(to: 1, users: .nobody)
    try web.house.history.rollBack(to: 1)
    #expect(web.read() == "newest" && web.fake.content(of: web.new) == "newest")
    try web.house.history.commitRollback()
    #expect(try web.house.pools.ensureActive("p").isEmpty)
    try web.house.expectSettled("after a restore")
  }

  @Test func aVolumeThatIsGoneKeepsNoOtherDiskFromStarting() throws {
    let web = try AdoptionHouse()
    try web.adopt()
    _ = try Disks(web.house.pools).create(guest: "db", vdev: "xvda", size: 1 << 20)
    web.fake.restart(reboot: true)
    web.fake.kernel { $0.refuseLVM = true }
    let faults = try web.house.pools.ensureActive("p")
    #expect(faults.count == 1 && faults[0].contains("volume vg0/web"))
    #expect(web.fake.kernel { $0.devices["ckpt-db-xvda"] != nil })
  }
}
