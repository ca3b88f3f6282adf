public import Xen

/// What there is to know of a host before epochs are taken on it. Whoever fills it in has looked; ``findings`` judges.
public struct HostFacts: Sendable {
  public struct Hypervisor: Sendable {
    /// As the kernel tells it, like `4.17.5`; nil without Xen.
    public var version: String?
    /// This is dom0.
    public var isControlDomain = false
    /// Why it, or xenstore, could not be asked.
    public var trouble: String?
    /// It can log the writes of PV guests. nil when it could not be asked.
    public var hasShadowPaging: Bool?

    public init() {}
  }

  /// The kernel's target for thin pools.
  public enum ThinTarget: Sendable, Equatable {
    case loaded(version: String)
    /// The first pool loads it.
    case loadable
    case missing
    /// device-mapper could not be asked, and why.
    case unknown(String)
  }

  public struct Store: Sendable {
    public var path: String
    public var exists = false
    /// Why it cannot be read; what the status says of it is nothing then.
    public var trouble: String?
    /// Permission bits and owner of the folder.
    public var mode: UInt32 = 0o700
    public var owner: UInt32 = 0
    public var isReadOnly = false
    /// Files and folders in it that others than the owner can read or write.
    public var exposed = 0
    public var hasReserve = false

    public init(path: String) { self.path = path }
  }

  /// A program of the host, and the Debian package that has it.
  public struct Program: Sendable, Equatable {
    public var name, package: String
    public var isThere: Bool
    /// Without it no epoch can be taken or restored.
    public var isNeeded: Bool
  }

  public enum Service: Sendable, Equatable {
    /// Nobody told `ckpt` of a socket, and there is none at the usual place.
    case noSocket(String)
    case answers(process: Int32, store: String)
    case silent(String)
  }

  public struct Guest: Sendable {
    public var name: String
    public var uuid: String
    public var isTranslated: Bool
    public var state: Domain.State
    /// `device/suspend/event-channel` holds something.
    public var offersChannel = false
    /// `control/feature-suspend` is 0.
    public var refusesSuspend = false
    /// Why it cannot be taken: its devices, its disks.
    public var obstacles: [String] = []
    /// Harm that its disks have come to, or come to as long as it runs.
    public var harm: [String] = []

    public init(name: String, uuid: String, isTranslated: Bool, state: Domain.State = .running) {
      (self.name, self.uuid, self.isTranslated, self.state) = (name, uuid, isTranslated, state)
    }
  }

  public var isRoot = true
  public var hypervisor = Hypervisor()
  /// Of ``XenDevice/all``, those that are there.
  public var devices: Set<String> = []
  /// Names of the libraries' files that this process has loaded.
  public var libraries: [String] = []
  public var programs: [Program] = []
  /// Why a take would find no guard.
  public var guardTrouble: String?
  public var thinTarget = ThinTarget.loadable
  /// The configuration file; nil when there is none.
  public var configuration: String?
  public var configurationFaults: [Configuration.Fault] = []
  /// The names that have a section in it.
  public var sections: [String] = []
  public var store: Store
  /// Space, pools, what there is to recover.
  public var status: HostStatus
  /// nil where LVM is not installed.
  public var lvm: LVMScan?
  /// Names that our volumes' devices have, for each all of them.
  public var volumes: [[String]] = []
  /// nil where systemd does not run.
  public var units: [UnitState]?
  public var service: Service
  /// ckptd runs files that were replaced since it was started.
  public var serviceIsOld = false
  public var schedules = Schedules()
  public var guests: [Guest] = []
  /// Files that xendomains saved, by the names of the store's guests.
  public var saved: [String: String] = [:]

  public init(store: Store, status: HostStatus, service: Service) {
    (self.store, self.status, self.service) = (store, status, service)
  }

  /// The unit that makes the pools' devices at boot.
  static let poolsUnit = "ckpt-pools.service"

  /// There is a pool, readable or not.
  var hasPools: Bool { !status.pools.isEmpty || status.unknown.contains { $0.hasPrefix("pool") } }

  /// All that was looked at, in the order of ``Finding/Area``.
  public var findings: [Finding] {
    hypervisorFindings + programFindings + kernelFindings + configurationFindings + storeFindings + poolFindings
      + lvmFindings + unitFindings + serviceFindings + scheduleFindings + guestFindings + recoveryFindings
  }
}

/// A device of Xen that programs of dom0 open.
public struct XenDevice: Sendable {
  let name: String
  let paths: [String]
  let module: String
  /// ckpt itself works without it; what else runs in dom0 may not.
  let isNeeded: Bool

  static let all = [
    XenDevice(
      name: "privcmd", paths: ["/dev/xen/privcmd", "/proc/xen/privcmd"], module: "xen-privcmd", isNeeded: true),
    XenDevice(name: "evtchn", paths: ["/dev/xen/evtchn"], module: "xen-evtchn", isNeeded: true),
    XenDevice(name: "gntdev", paths: ["/dev/xen/gntdev"], module: "xen-gntdev", isNeeded: false),
    XenDevice(
      name: "xenbus", paths: ["/run/xenstored/socket", "/dev/xen/xenbus", "/proc/xen/xenbus"], module: "xenfs",
      isNeeded: true),
  ]
}
