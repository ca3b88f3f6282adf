import DeviceMapper
import EpochStore
import Glibc
import Testing
import Xen

@testable import Checkpoint

@Suite("What the doctor says")
struct DoctorTests {
  /// A host on which nothing is wrong, but for what `change` does to it.
  private static func host(_ change: (inout HostFacts) -> Void = { _ in }) -> HostFacts {
    var status = HostStatus(
      host: "xen1",
      store: HostStatus.Store(
        path: "/var/lib/ckpt", used: 1 << 30, fileSystem: FileSystemSpace(total: 100 << 30, free: 50 << 30)))
    status.xen = "4.17.5"
    var store = HostFacts.Store(path: "/var/lib/ckpt")
    (store.exists, store.hasReserve) = (true, true)
    var facts = HostFacts(store: store, status: status, service: .answers(process: 7, store: "/var/lib/ckpt"))
    (facts.hypervisor.version, facts.hypervisor.isControlDomain) = ("4.17.5", true)
    facts.hypervisor.hasShadowPaging = false
    facts.devices = ["privcmd", "evtchn", "gntdev", "xenbus"]
    facts.libraries = ["libxenctrl.so.4.17"]
    facts.programs = [HostFacts.Program(name: "xl", package: "xen-utils-4.17", isThere: true, isNeeded: true)]
    facts.thinTarget = .loaded(version: "1.22.0")
    facts.configuration = "/etc/ckpt/ckpt.conf"
    facts.units = ["ckptd.socket", "ckptd.service", "ckpt-pools.service"].map { UnitState($0) }
    facts.status.pools = [pool(used: 10)]
    facts.status.xen = "4.17"
    facts.guests = [HostFacts.Guest(name: "web", uuid: "1", isTranslated: true)]
    change(&facts)
    return facts
  }

  /// - Parameter used: per cent of its data.
  private static func pool(used: UInt64, _ change: (inout PoolStatus) -> Void = { _ in }) -> PoolReport {
    var status = PoolStatus(
      mode: .readWrite, usedMetadataBlocks: 1000, totalMetadataBlocks: 16384, usedDataBlocks: used * 1000,
      totalDataBlocks: 100_000)
    change(&status)
    return PoolReport(
      PoolCatalog(name: "main", identity: "1", backing: .devices(data: "/dev/a", metadata: "/dev/b")), status)
  }

  @Test("of a sound host: ok, in every area that it has")
  func sound() {
    let findings = Self.host().findings
    #expect(findings.filter { $0.level != .ok } == [])
    #expect(
      findings.map(\.area) == [
        .xen, .devices, .libraries, .programs, .kernel, .config, .store, .pools, .units, .service, .guests,
      ])
  }

  /// One fault of a host, and what is said of it.
  struct Fault: Sendable {
    let level: Finding.Level
    let area: Finding.Area
    let what, fix: String
    let facts: HostFacts

    init(
      _ level: Finding.Level, _ area: Finding.Area, _ what: String, _ fix: String,
      change: (inout HostFacts) -> Void
    ) {
      (self.level, self.area, self.what, self.fix) = (level, area, what, fix)
      facts = DoctorTests.host(change)
    }
  }

  private static let faults: [Fault] = [
    // Xen, the kernel, programs.
    Fault(.problem, .xen, "no Xen", "apt install") { $0.hypervisor.version = nil },
    Fault(.problem, .xen, "guest of Xen 4.17.5", "in its dom0") { $0.hypervisor.isControlDomain = false },
    Fault(.problem, .xen, "the host runs Xen 4.20", "install the build") {
      $0.hypervisor.trouble = "\(XenError.wrongRelease(found: "4.20", needed: "4.17"))"
    },
    Fault(.problem, .devices, "/dev/xen/evtchn is missing", "modprobe xen-evtchn") { $0.devices.remove("evtchn") },
    Fault(.warning, .devices, "/dev/xen/gntdev", "modprobe xen-gntdev") { $0.devices.remove("gntdev") },
    Fault(.problem, .devices, "/run/xenstored", "systemctl start xen") { $0.devices.remove("xenbus") },
    Fault(.problem, .programs, "xl is not", "apt install xen-utils-4.17") { $0.programs[0].isThere = false },
    Fault(.problem, .programs, "ckpt-guard", "install it") {
      $0.guardTrouble = "\(GuardError.cannotStart("it is not there"))"
    },
    Fault(.problem, .kernel, "no dm_thin_pool", "apt install") { $0.thinTarget = .missing },
    Fault(.warning, .kernel, "1.9.0", "5.5") { $0.thinTarget = .loaded(version: "1.9.0") },
    Fault(.problem, .config, "c:3: it is odd", "ckpt config check /etc/ckpt/ckpt.conf") {
      $0.configurationFaults = [Configuration.Fault(path: "c", line: 3, what: "it is odd")]
    },
    // The store.
    Fault(.problem, .store, "read-only", "mount -o remount,rw") { $0.store.isReadOnly = true },
    Fault(.problem, .store, "(mode 755)", "chmod 0700 /var/lib/ckpt") { $0.store.mode = 0o755 },
    Fault(.problem, .store, "uid 33", "chown root: /var/lib/ckpt") { $0.store.owner = 33 },
    Fault(.warning, .store, "2 files", "chmod -R go= /var/lib/ckpt") { $0.store.exposed = 2 },
    Fault(.warning, .store, "5.0G of 100.0G free", "ckpt prune") { $0.status.store.fileSystem.free = 5 << 30 },
    Fault(.problem, .store, "(host-reserve)", "ckpt prune") { $0.status.store.limits.hostReserve = 60 << 30 },
    Fault(.problem, .store, "store-quota of 512.0M", "ckpt prune") { $0.status.store.limits.storeQuota = 1 << 29 },
    Fault(.warning, .store, "its reserve", "the next take") {
      $0.store.hasReserve = false
      $0.status.guests = [guest(epochs: 1)]
    },
    Fault(.problem, .store, "cannot list /var/lib/ckpt/u: Input/output error", "check the disk (dmesg)") {
      let error = StoreError.system(operation: "list", path: "/var/lib/ckpt/u", errno: EIO)
      $0.status.unreadable = [UnreadableFolder(uuid: "u", path: "/var/lib/ckpt/u", error: error)]
    },
    // Sizes that nobody knows are not judged.
    Fault(.problem, .store, "cannot list /var/lib/ckpt: Structure needs cleaning", "check the file system") {
      $0.store.trouble = "\(StoreError.system(operation: "list", path: "/var/lib/ckpt", errno: EUCLEAN))"
      $0.status.store.fileSystem = FileSystemSpace(total: 0, free: 0)
      $0.status.store.limits.storeQuota = 1
    },
    // Pools and LVM.
    Fault(.warning, .pools, "no pool", "ckpt pool create") { $0.status.pools = [] },
    Fault(.problem, .pools, "main is not active", "ckpt pool start") { $0.status.pools[0].status = nil },
    Fault(.problem, .pools, "data nearly full", "ckpt pool grow main") { $0.status.pools = [pool(used: 99)] },
    Fault(.warning, .pools, "90 % of its data", "prune") { $0.status.pools = [pool(used: 90)] },
    Fault(.problem, .pools, "(pool-watermark)", "ckpt pool grow main") { $0.status.store.limits.poolWatermark = 10 },
    Fault(.problem, .pools, "needs a check", "thin_check") {
      $0.status.pools = [pool(used: 1) { $0.needsCheck = true }]
    },
    Fault(.problem, .pools, "read-only", "thin_repair") { $0.status.pools = [pool(used: 1) { $0.mode = .readOnly }] },
    Fault(.problem, .pools, "pool main: damaged", "look") { $0.status.unknown = ["pool main: damaged; look"] },
    Fault(.warning, .lvm, "inside 1 guests' disks (/dev/mapper/ckpt-web-xvda)", "global_filter") {
      $0.lvm = LVMScan()
      $0.volumes = [["/dev/mapper/ckpt-web-xvda", "/dev/dm-3"]]
    },
    // The service.
    Fault(.warning, .units, "systemd does not run", "ckpt pool start") { $0.units = nil },
    Fault(.warning, .units, "ckptd.service is not installed", "apt install") { $0.units![1].isInstalled = false },
    Fault(.warning, .units, "at boot", "systemctl enable --now ckptd.socket") { $0.units![0].isEnabled = false },
    Fault(.warning, .units, "does not run", "systemctl enable --now ckptd.service") { $0.units![1].isActive = false },
    Fault(.problem, .units, "has failed", "journalctl -u ckpt-pools.service") { $0.units![2].hasFailed = true },
    Fault(.warning, .service, "no ckptd at /run/s", "systemctl enable --now") { $0.service = .noSocket("/run/s") },
    Fault(.problem, .service, "nobody", "start it") { $0.service = .silent("nobody; start it") },
    Fault(.warning, .service, "another store: /s", "--store /s") { $0.service = .answers(process: 7, store: "/s") },
    Fault(.warning, .service, "replaced by newer", "systemctl restart ckptd") { $0.serviceIsOld = true },
    // Schedules, and names that nobody has.
    Fault(.problem, .schedules, "/s/schedules.json: odd", "mend the file") {
      $0.schedules.problem = "/s/schedules.json: odd; nothing was changed; mend the file"
    },
    Fault(.warning, .schedules, "web: the last pruning by its schedule failed: locked", "mend that") {
      ($0.schedules.guests, $0.schedules.pruneProblems) = (["web"], ["web": "locked"])
    },
    Fault(.warning, .schedules, "a schedule for 'bew'", "ckpt schedule remove bew") {
      // The others run, or are in the store, by name or uuid.
      $0.schedules.guests = ["bew", "db", "2B", "web"]
      $0.status.guests = [guest("2b", named: "db", epochs: 1)]
    },
    Fault(.warning, .config, "[guest bew] holds for nobody", "edit /etc/ckpt/ckpt.conf") {
      $0.sections = ["bew", "db", "web"]
      $0.status.guests = [guest("2b", named: "db", epochs: 1)]
    },
    // Guests.
    Fault(.warning, .guests, "web is paused", "`xl unpause`") { $0.guests[0].state = .paused },
    Fault(.problem, .guests, "web is suspended already", "`ckpt recover`") { $0.guests[0].state = .suspended },
    Fault(.warning, .guests, "cannot suspend", "CONFIG_HIBERNATE") { $0.guests[0].refusesSuspend = true },
    Fault(.warning, .guests, "disk xvda (/dev/x) of web is not in a pool", "ckpt disk create web xvda") {
      $0.guests[0].add(DiskError.notInPool(guest: "web", vdev: "xvda", path: "/dev/x"))
    },
    Fault(.problem, .guests, "DISK xvda OF web IS NOT OURS ANY MORE", "xl destroy web") {
      $0.guests[0].add(AdoptionError.replaced(guest: "web", vdev: "xvda", volume: "vg0/web", found: "0 8 linear"))
    },
    Fault(.problem, .guests, "vg0/web was written to since it was adopted", "ckpt release web xvda --discard") {
      $0.guests[0].add(AdoptionError.originChanged(guest: "web", vdev: "xvda", volume: "vg0/web"))
    },
    Fault(.warning, .guests, "its release was begun", "ckpt release web xvda") {
      $0.guests[0].add(AdoptionError.releasing(guest: "web", vdev: "xvda"))
    },
    Fault(.warning, .guests, "epochs of 'web' under another uuid as well: 2", "uuid = \"1\", or uuid = \"2\"") {
      // Its own epochs, and those of one that is called otherwise, are no reason.
      let others = [guest("2", epochs: 3), guest("3", named: "db", epochs: 3), guest("4", epochs: 0)]
      $0.status.guests = [guest(epochs: 1)] + others
    },
    Fault(.warning, .guests, "db does not run; what it was last is /save/db,", "xl restore /save/db && rm /save/db") {
      $0.saved = ["db": "/save/db", "web": "/save/web", "mail": "/save/mail"]
      // One that runs, and one without epochs, have nothing to lose by a restore.
      $0.status.guests = [guest(epochs: 1), guest("2", named: "db", epochs: 3), guest("3", named: "mail", epochs: 0)]
      $0.status.guests[0].domain = 5
    },
    Fault(.problem, .recover, "web: a take", "ckpt recover") { $0.status.recoverable = ["web: a take was killed"] },
    Fault(.problem, .recover, "restore of db to epoch 2 did not end", "ckpt restore db 2, or ckpt undo db") {
      // That of a guest that runs was ended otherwise.
      $0.status.guests = [guest(epochs: 1), guest("2", named: "db", epochs: 3)]
      for index in 0..<2 {
        let name = $0.status.guests[index].name
        $0.status.guests[index].unfinished = UnfinishedRestore(guest: name, epoch: 2, canBeUndone: true)
      }
      $0.status.guests[0].domain = 5
      $0.status.xen = "4.17.5"
    },
  ]

  @Test("of a host with one fault: that alone, its level, and the next command", arguments: faults)
  func fault(_ fault: Fault) {
    let faults = fault.facts.findings.filter { $0.level != .ok }
    #expect(faults.count == 1 && faults[0].level == fault.level && faults[0].area == fault.area, "\(faults)")
    #expect(faults.first?.what.contains(fault.what) == true, "\(faults)")
    #expect(faults.first?.fix?.contains(fault.fix) == true, "\(faults)")
  }

  @Test("of a disk that LVM put its own table over: what a take says, but it only looks")
  func onlyLooking() throws {
    let web = try AdoptionHouse()
    try web.adopt()
    web.refreshByLVM()
    let before = (try web.house.catalog(), web.fake.kernel { $0.changes })
    #expect {
      try GuestDisks(
        pools: web.house.pools, guest: "web", guestUUID: PoolHouse.uuid, disks: [web.disk], onlyLooking: true)
    } throws: { "\($0)".contains("IS NOT OURS ANY MORE") }
    #expect(try web.house.catalog() == before.0)
    #expect(web.fake.kernel { $0.changes } == before.1)
    #expect(throws: AdoptionError.self) { try web.guestDisks() }
    #expect(try web.origin()?.wasPassedBy == true)
  }

  private static func guest(_ uuid: String = "1", named name: String = "web", epochs: Int) -> HostStatus.Guest {
    var guest = HostStatus.Guest(name: name, uuid: uuid)
    guest.epochs = epochs
    return guest
  }

  @Test("of schedules: that there are some, and of names that nobody has only where it is known who runs")
  func schedules() {
    let findings = Self.host {
      $0.status.xen = nil
      ($0.schedules.guests, $0.sections) = (["bew"], ["bew"])
    }.findings
    #expect(findings.filter { $0.level != .ok } == [])
    #expect(findings.first { $0.area == .schedules }?.what == "of bew")
  }

  @Test("of a host without root: that, once, and what everybody may know")
  func withoutRoot() {
    let findings = Self.host {
      $0.isRoot = false
      $0.hypervisor.trouble = "\(XenError.notRoot)"
      $0.thinTarget = .unknown("device-mapper is not usable: it needs root")
      $0.status.unknown = ["guests: not root"]
      ($0.status.pools, $0.guests) = ([], [])
    }.findings
    #expect(findings.filter { $0.level != .ok }.map(\.fix) == ["sudo ckpt doctor"])
    #expect(findings.contains { $0.area == .units } && findings.contains { $0.area == .config })
  }

  @Test(
    "of how a guest would be taken",
    arguments: [
      (true, false, false, "xenstore", "Xen's log"), (true, true, false, "channel;", "Xen's log"),
      (false, false, true, "xenstore", "Xen's log"), (false, false, false, "xenstore", "comparing pages"),
    ])
  func ways(isTranslated: Bool, offers: Bool, hasShadow: Bool, asked: String, changes: String) {
    let findings = Self.host {
      $0.hypervisor.hasShadowPaging = hasShadow
      $0.guests = [HostFacts.Guest(name: "web", uuid: "1", isTranslated: isTranslated)]
      $0.guests[0].offersChannel = offers
    }.findings
    let what = findings.first { $0.area == .guests }?.what ?? ""
    #expect(what.contains(asked) && what.contains(changes), "\(what)")
  }

  @Test("of the unit that starts pools: nothing bad where there are none, unless it failed")
  func poolsUnit() {
    func units(_ change: (inout UnitState) -> Void) -> [Finding] {
      Self.host { facts in
        facts.status.pools = []
        change(&facts.units![2])
      }.findings.filter { $0.area == .units }
    }
    #expect(units { $0.isActive = false }.map(\.level) == [.ok])
    #expect(units { ($0.isActive, $0.isEnabled, $0.isInstalled) = (false, false, false) }.map(\.level) == [.ok])
    #expect(units { $0.hasFailed = true }.map(\.level) == [.problem])
    // One that cannot be read is one all the same.
    let unread = Self.host {
      ($0.status.pools, $0.status.unknown) = ([], ["pool main: damaged; look"])
      $0.units![2].isActive = false
    }.findings
    #expect(unread.contains { $0.area == .units && $0.level == .warning })
  }

  @Test("of a service that has the same store by another name: nothing bad")
  func sameStore() {
    let findings = Self.host {
      $0.store.path = "/usr/bin"
      $0.service = .answers(process: 7, store: "/usr/lib/../bin/")
    }.findings
    #expect(findings.filter { $0.area == .service }.map(\.level) == [.ok])
  }

  @Test("of a file system that went read-only for its errors: both")
  func readOnlyForErrors() {
    let findings = Self.host {
      let error = StoreError.system(operation: "list", path: "/var/lib/ckpt/u", errno: EIO)
      $0.status.unreadable = [UnreadableFolder(uuid: "u", path: "/var/lib/ckpt/u", error: error)]
      $0.store.isReadOnly = true
    }.findings.filter { $0.area == .store }
    #expect(findings.map(\.subject) == ["/var/lib/ckpt/u", "/var/lib/ckpt"])
    #expect(findings.map(\.level) == [.problem, .problem])
  }

  @Test("of a store that is not there yet: nothing bad")
  func noStore() {
    let findings = Self.host { $0.store.exists = false }.findings
    #expect(findings.first { $0.area == .store }?.level == .ok)
  }
}
