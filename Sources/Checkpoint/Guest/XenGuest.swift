import EpochStore
import MigrationStream
import Synchronization
public import Xen

/// A running domain of this host as the engine's guest.
public final class XenGuest: Guest {
  public let identity: GuestIdentity
  public let configuration: [UInt8]
  public let domain: Domain
  private let hypervisor: Hypervisor
  private let store: XenStore
  /// Until its memory is dropped.
  private var kept: GuestImage?
  private var image: GuestImage {
    guard let kept else { preconditionFailure("its memory was dropped") }
    return kept
  }
  private let log: LogDirty
  private var suspension: Suspension?
  private let keepsMappings: Bool
  /// As it had them before the take.
  let disks: [Xen.GuestDisk]
  /// As they were read in this pause.
  private let processors = Mutex<GuestImage.Processors?>(nil)

  /// Finds out whether the domain can be taken at all; changes nothing.
  ///
  /// - Parameter memory: of an engine that stays: what is mapped stays mapped there from take to take.
  /// - Throws: ``CheckpointError``, `XenError` or `XLConfigError` with the reason.
  init(_ hypervisor: Hypervisor, _ store: XenStore, _ domain: Domain, memory: TakeMemory) throws {
    guard domain.id != 0 else { throw CheckpointError.isDomainZero }
    let name = store.label(of: domain.id)
    // Our own, in its pause or held until it is destroyed: nothing is wrong with it.
    if domain.state == .suspended, try AbandonedSuspension(hypervisor, store, domain)?.isAlive == true {
      throw CheckpointError.inPause(guest: name)
    }
    if let state = XenGuest.obstacle(domain.state) { throw CheckpointError.notRunning(guest: name, state: state) }
    let devices = GuestDevices(store, domain: domain.id)
    try devices.requireSupported()
    disks = try devices.disks()
    let listed = try Command.run(["xl", "list", "-l", String(domain.id)])
    let config = try XLConfig(list: listed, domid: domain.id)
    guard !config.hasPCIDevices, !config.hasUSBDevices else {
      throw XenError.unsupported(domain: domain.id, "it has a passed-through device, whose state cannot be saved")
    }
    guard !config.hasVNUMA else {
      throw XenError.unsupported(
        domain: domain.id, "it has virtual NUMA nodes, which the migration stream cannot carry")
    }
    self.hypervisor = hypervisor
    self.store = store
    self.domain = domain
    configuration = config.encoded()
    if let known = memory.image, known.domain.id == domain.id, known.domain.uuid == domain.uuid {
      kept = known
    } else {
      kept = try GuestImage(hypervisor, store, domain)
    }
    keepsMappings = memory.isResident
    memory.image = keepsMappings ? kept : nil
    log = try LogDirty(hypervisor, store, domain)
    identity = GuestIdentity(
      name: name, uuid: domain.uuid, kind: kept?.kind == .pv ? .pv : .pvh, vcpus: Int(config.maximumVCPUs),
      memoryBytes: domain.maximumKiB << 10, xenVersion: Hypervisor.release)
  }

  static func obstacle(_ state: Domain.State) -> String? {
    switch state {
    case .running: nil
    case .paused: "paused; `xl unpause` it first, a paused guest cannot answer"
    case .suspended:
      "suspended already, by another tool, a killed one or itself; `ckpt recover` resumes it if it was ours"
    case .shutdown: "shut down"
    case .crashed: "crashed; restore an epoch of it instead"
    case .dying: "being destroyed"
    }
  }

  public private(set) var suspendPath = ""
  public private(set) var suspendNote: String?

  public func hasSameDisks() throws -> Bool { try GuestDevices(store, domain: domain.id).disks() == disks }

  public func arm() throws {
    let suspension = try Suspension(hypervisor, store, domain)
    self.suspension = suspension
    keepPath(of: suspension)
  }

  /// It is told when the suspension is closed already.
  private func keepPath(of suspension: Suspension) {
    suspendPath = suspension.path.rawValue
    suspendNote = suspension.note
  }

  public func disarm() {
    suspension?.close()
    suspension = nil
    kept?.memory.release(forNextTake: keepsMappings)
  }

  public func dropMemory() {
    kept?.memory.release(forNextTake: false)
    kept = nil
  }

  // MARK: Memory

  public func scan() throws { try image.memory.scan() }
  public var present: PageSet { image.memory.present }
  public func assume(_ known: PageSet, pages: UInt64) throws -> Bool { try image.memory.assume(known, pages: pages) }
  public var pageTotal: UInt64 { image.memory.pageTotal }
  public func hasResized() throws -> Bool { try image.memory.hasResized() }
  public func keepMapped() throws { try image.memory.keepMapped() }
  public func settleLive(anew: Bool) throws -> (come: PageSet, gone: PageSet) {
    try image.memory.settleLive(anew: anew)
  }
  public func settle() throws -> (come: PageSet, gone: PageSet) { try image.memory.settle() }
  public func settleAnew() throws -> (come: PageSet, gone: PageSet) { try image.memory.settleAnew() }
  public func copy(_ pfns: [UInt64], running: Bool, to receiver: some PageReceiver) throws -> Int {
    try image.memory.copy(pfns, running: running, to: receiver)
  }
  public func unmapSpent() { image.memory.unmapSpent() }
  public var mappingMs: Double { image.memory.mappingMs }

  // MARK: The log of dirty pages

  public var isBeingSaved: Bool { domain.isBeingSaved }
  public func beginLog() throws -> LogDirty.Start { try log.begin() }
  public func endLog() { log.end() }
  public func peek(into pages: inout PageSet, final: Bool) throws { try log.peek(into: &pages, final: final) }
  public func collect(into pages: inout PageSet) throws -> Int { try log.collect(into: &pages) }
  public func mark(_ pfn: UInt64) -> Bool { log.mark(pfn) }
  public func unprotect(_ pages: PageSet) -> PageSet { log.unprotect(pages) }

  static func trackingNote(_ store: XenStore, _ domain: Domain) -> DomainNote {
    DomainNote(store, domain: domain.id, "tracking")
  }
  // One that cannot be read is none: everything is compared then.
  public var trackingNote: String? { (try? XenGuest.trackingNote(store, domain).read()) ?? nil }
  public func setTrackingNote(_ note: String?) throws {
    let place = XenGuest.trackingNote(store, domain)
    if let note { try place.write(note) } else { try place.clear() }
  }

  // MARK: The pause

  public func prepareRequest() throws {
    guard let suspension else { return }
    try suspension.prepare()
    keepPath(of: suspension)
  }
  public func request() throws { try suspension?.request() }
  public func awaitSuspended(unless isTaken: () -> Bool, _ mayGoOn: () throws -> Void) throws -> Bool {
    try suspension?.awaitSuspended(unless: isTaken, mayGoOn) ?? false
  }

  public func readProcessors() throws {
    let read = try image.processors()
    processors.withLock { $0 = read }
  }

  public func state() throws -> GuestState {
    guard let read = processors.withLock({ $0.take() }) else { preconditionFailure("the processors come first") }
    let state = try image.state(read)
    let records = GuestRecords.encode(policy: image.policy, state)
    if case .pv(let pv) = state { return GuestState(records: records, canary: pv.startInfoPFN) }
    return GuestState(records: records)
  }

  public var presence: Suspension.Presence { suspension?.presence ?? .running }
  public func resume() throws -> Bool { try suspension?.resume() ?? false }
  public var mayStillSuspend: Bool { suspension?.isOpen == true }
  public func handOver() { suspension?.handOver() }
}
