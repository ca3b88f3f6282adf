import DeviceMapper
public import Xen

/// What ``Engine/recover(_:)`` did.
public struct Recovery: Sendable {
  public struct Guest: Sendable {
    public var name: String
    public var domain: UInt32
    public var outcome: AbandonedSuspension.Outcome
  }

  /// Devices that stood suspended and run again.
  public var devices: [String] = []
  public var guests: [Guest] = []
}

extension Engine {
  /// Ends what killed takes left: devices first, so that the guests' writes go on, then the guests.
  ///
  /// - Parameter guest: by name, id or uuid; nil for all.
  /// - Throws: ``CheckpointError/takeRuns(guest:)`` while a take that lives is in its pause; nothing was touched then.
  public func recover(_ guest: String?) throws -> Recovery {
    let hypervisor = try Hypervisor()
    let store = try XenStore()
    let domains = try guest.map { [try hypervisor.find($0, store: store)] } ?? hypervisor.domains()
    // A take that lives suspends devices on purpose; whose it is cannot be told from the devices.
    for domain in try hypervisor.domains() {
      guard let pending = AbandonedSuspension(hypervisor, store, domain), pending.isAlive else { continue }
      throw CheckpointError.takeRuns(guest: store.name(of: domain.id) ?? "domain \(domain.id)")
    }
    var recovery = Recovery()
    recovery.devices = try pools().resumeSuspended()
    for domain in domains {
      guard let pending = AbandonedSuspension(hypervisor, store, domain) else { continue }
      let name = store.name(of: domain.id) ?? "domain \(domain.id)"
      recovery.guests.append(.init(name: name, domain: domain.id, outcome: try pending.settle()))
    }
    return recovery
  }
}
