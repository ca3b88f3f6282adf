import DeviceMapper
import EpochStore
import Glibc
import Xen

extension Engine {
  /// Looks at everything that ``HostFacts`` has a place for, as far as it is there. Changes nothing and takes no lock.
  ///
  /// - Parameters:
  ///   - configuration: path of the configuration file; nil for none.
  ///   - service: what the caller learnt of the daemon.
  public func facts(configuration path: String?, service: HostFacts.Service) -> HostFacts {
    let configuration = path.flatMap { try? Configuration(path: $0) } ?? Configuration()
    var store = storeFacts()
    let status = whateverStatus(configuration, &store)
    var facts = HostFacts(store: store, status: status, service: service)
    facts.isRoot = geteuid() == 0
    facts.configuration = path
    facts.configurationFaults = path.map(Configuration.faults) ?? []
    facts.sections = configuration.sectionNames
    facts.libraries = HostFiles.loadedLibraries
    facts.programs = HostFacts.Program.all
    do throws(GuardError) { _ = try PauseGuard.executable() } catch { facts.guardTrouble = "\(error)" }
    facts.units = HostFacts.units()
    if case .answers(let process, _) = service { facts.serviceIsOld = HostFiles.runsOldFiles(process) }
    facts.lvm = LVMScan.ofHost()
    addKernel(&facts)
    addXen(&facts)
    facts.saved = savedFiles(of: facts.status.guests)
    return facts
  }

  private func savedFiles(of guests: [HostStatus.Guest]) -> [String: String] {
    let save = XendomainsSave()
    var saved: [String: String] = [:]
    for guest in guests {
      guard let file = save.file(of: guest.uuid, called: guest.name) else { continue }
      let folder = try? existingStore().folder(uuid: guest.uuid, create: false)
      if let folder, XendomainsSave.isOutdated(file, in: folder) { continue }
      saved[guest.name] = file
    }
    return saved
  }

  /// The store's part is empty where there is none, or where it cannot be read; that alone is no reason not to look at the rest.
  private func whateverStatus(_ configuration: Configuration, _ facts: inout HostFacts.Store) -> HostStatus {
    do { return try status(configuration) } catch {
      if facts.exists { facts.trouble = "\(error)" }
    }
    let nothing = FileSystemSpace(total: 0, free: 0)
    var status = HostStatus(
      host: hostName(),
      store: HostStatus.Store(
        path: storePath, used: 0, fileSystem: nothing, limits: configuration.options(for: "").space))
    look(&status)
    return status
  }

  private func storeFacts() -> HostFacts.Store {
    var store = HostFacts.Store(path: storePath)
    var status = stat()
    var system = statvfs()
    guard stat(storePath, &status) == 0, statvfs(storePath, &system) == 0 else { return store }
    store.exists = true
    (store.mode, store.owner) = (status.st_mode & 0o7777, status.st_uid)
    store.isReadOnly = system.f_flag & UInt(ST_RDONLY) != 0
    store.hasReserve = access(storePath + "/reserve", F_OK) == 0
    store.exposed = HostFiles.exposed(below: storePath)
    return store
  }

  private func addKernel(_ facts: inout HostFacts) {
    do {
      let mapper = try DeviceMapper()
      let version = try mapper.loadedTargets()["thin-pool"]
      facts.thinTarget =
        version.map { .loaded(version: $0) } ?? (HostFiles.hasModule("dm-thin-pool") ? .loadable : .missing)
      facts.volumes = (try? Pools(store: storePath, mapper: mapper).deviceNames()) ?? []
    } catch { facts.thinTarget = .unknown("\(error)") }
  }

  private func addXen(_ facts: inout HostFacts) {
    facts.hypervisor.version = HostFiles.xenVersion
    facts.hypervisor.isControlDomain = HostFiles.text("/proc/xen/capabilities").contains("control_d")
    facts.devices = Set(
      XenDevice.all.filter { $0.paths.contains { access($0, F_OK) == 0 } }.map(\.name))
    guard facts.hypervisor.version != nil else { return }
    do {
      let (hypervisor, store) = (try Hypervisor(), try XenStore())
      facts.hypervisor.hasShadowPaging = try hypervisor.hasShadowPaging()
      for domain in try hypervisor.domains() where domain.id != 0 {
        facts.guests.append(try guestFacts(store, domain))
      }
      facts.guests.sort { $0.name < $1.name }
    } catch { facts.hypervisor.trouble = "\(error)" }
  }

  private func guestFacts(_ store: XenStore, _ domain: Domain) throws -> HostFacts.Guest {
    let name = store.label(of: domain.id)
    var guest = HostFacts.Guest(
      name: name, uuid: domain.uuid, isTranslated: domain.isTranslated, state: domain.state)
    let home = "/local/domain/\(domain.id)"
    guest.offersChannel = try store.read("\(home)/device/suspend/event-channel")?.isEmpty == false
    guest.refusesSuspend = try store.read("\(home)/control/feature-suspend") == "0"
    if try store.read("/libxl/\(domain.id)/type") == "hvm" {
      guest.obstacles.append("it is an HVM guest, whose device model is not saved yet; PV and PVH guests are")
    }
    let devices = GuestDevices(store, domain: domain.id)
    do { try devices.requireSupported() } catch { guest.add(error) }
    do {
      _ = try GuestDisks(
        pools: pools(), guest: name, guestUUID: domain.uuid, disks: try devices.disks().map(GuestDisk.init),
        onlyLooking: true)
    } catch { guest.add(error) }
    return guest
  }
}

extension HostFacts {
  /// nil where systemd does not run.
  fileprivate static func units() -> [UnitState]? {
    guard access("/run/systemd/system", F_OK) == 0 else { return nil }
    let words = ["systemctl", "show", "--property=\(UnitState.properties)"]
    let answer = try? Command.finish(words + ["ckptd.socket", "ckptd.service", poolsUnit])
    return UnitState.all(in: answer?.output ?? "")
  }
}

extension HostFacts.Program {
  /// What takes, restores and views run.
  fileprivate static var all: [HostFacts.Program] {
    let known = [
      ("xl", "xen-utils-4.17", true), ("thin_check", "thin-provisioning-tools", false),
      ("thin_delta", "thin-provisioning-tools", false),
    ]
    return known.map { name, package, isNeeded in
      HostFacts.Program(name: name, package: package, isThere: HostFiles.hasProgram(name), isNeeded: isNeeded)
    }
  }
}

extension LVMScan {
  /// The settings that hold, with those of other files and the defaults; nil where LVM is not installed.
  fileprivate static func ofHost() -> LVMScan? {
    let words = [
      "lvmconfig", "--typeconfig", "full", "devices/global_filter", "devices/filter", "devices/use_devicesfile",
    ]
    guard HostFiles.hasProgram("lvmconfig"), let answer = try? Command.finish(words) else { return nil }
    let devicesFile = "/etc/lvm/devices/system.devices"
    return LVMScan(
      settings: answer.output, devicesFile: access(devicesFile, F_OK) == 0 ? HostFiles.text(devicesFile) : nil)
  }
}

extension Pools {
  /// The names of each disk's device, as LVM meets them.
  fileprivate func deviceNames() throws -> [[String]] {
    try catalogs().flatMap(\.volumes).compactMap { volume in
      guard let info = try operations.info(volume.device) else { return nil }
      return ["/dev/mapper/\(volume.device)", "/dev/dm-\(info.number.minor)"]
    }
  }
}
