import EpochStore
public import MigrationStream
public import Xen

/// A running domain of this host as the engine's guest.
public final class XenGuest: Guest {
  public let identity: GuestIdentity
  public let configuration: [UInt8]
  public let domain: Domain
  private let hypervisor: Hypervisor
  private let store: XenStore
  private let image: GuestImage
  private var suspension: Suspension?

  /// Finds out whether the domain can be taken at all; changes nothing.
  ///
  /// - Throws: ``CheckpointError``, `XenError` or `XLConfigError` with the reason.
  public init(_ hypervisor: Hypervisor, _ store: XenStore, _ domain: Domain) throws {
    guard domain.id != 0 else { throw CheckpointError.isDomainZero }
    let name = store.name(of: domain.id) ?? "domain \(domain.id)"
    if let state = XenGuest.obstacle(domain.state) { throw CheckpointError.notRunning(guest: name, state: state) }
    try GuestDevices(store, domain: domain.id).requireSupported()
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
    image = try GuestImage(hypervisor, store, domain)
    identity = GuestIdentity(
      name: name, uuid: domain.uuid, kind: image.kind == .pv ? .pv : .pvh, vcpus: Int(config.maximumVCPUs),
      memoryBytes: domain.maximumKiB << 10, xenVersion: Hypervisor.release)
  }

  static func obstacle(_ state: Domain.State) -> String? {
    switch state {
    case .running: nil
    case .paused: "paused; `xl unpause` it first, a paused guest cannot answer"
    case .suspended: "suspended already, by another tool or a killed one"
    case .shutdown: "shut down"
    case .crashed: "crashed; restore an epoch of it instead"
    case .dying: "being destroyed"
    }
  }

  public private(set) var suspendPath = ""

  public func arm() throws {
    try image.memory.prepare()
    let suspension = try Suspension(hypervisor, store, domain)
    self.suspension = suspension
    suspendPath = suspension.path.rawValue
  }

  public var pageCount: Int { image.memory.pageCount }
  public var chunkCount: Int { image.memory.chunkCount }

  public func request() throws { try suspension?.request() }

  public func awaitSuspended() throws { try suspension?.awaitSuspended() }

  public func revalidate() throws -> Bool { try image.memory.freeze() > 0 }

  public func writePFNs(to pfns: UnsafeMutableBufferPointer<UInt64>) { image.memory.writePFNs(to: pfns) }

  public func copy(
    chunk: Int, to pages: UnsafeMutableRawPointer, types: UnsafeMutableBufferPointer<UInt8>
  ) throws {
    try image.memory.copy(chunk: chunk, to: pages, types: types)
  }

  public func records(in staging: StagedMemory) throws -> [Record] {
    let state = try image.state()
    if case .pv(let pv) = state {
      guard let page = staging.page(pv.startInfoPFN) else {
        throw XenError.guestData(domain: domain.id, "its start_info page is not in its memory")
      }
      try image.checkStartInfo(page, store)
    }
    return GuestRecords.encode(policy: image.policy, state)
  }

  public func resume() throws { try suspension?.resume() }

  public func disarm() {
    suspension?.close()
    suspension = nil
    image.memory.release()
  }
}
