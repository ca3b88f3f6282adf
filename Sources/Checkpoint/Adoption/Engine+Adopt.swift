import Xen

extension Engine {
  /// Moves disks of a running guest into a pool; see ``Pools/adopt(guest:disks:named:pool:adopted:)``.
  ///
  /// - Parameters:
  ///   - guest: by name, id or uuid.
  ///   - named: the disks to adopt; all writable ones when empty.
  ///   - adopted: told each disk as soon as it is adopted, whatever comes of the next one.
  public func adopt(
    _ guest: String, named: [String] = [], pool: String? = nil, adopted: (AdoptedDisk) -> Void
  ) throws {
    let hypervisor = try Hypervisor()
    let xenstore = try XenStore()
    let domain = try hypervisor.find(guest, store: xenstore)
    guard domain.id != 0 else { throw CheckpointError.isDomainZero }
    let name = xenstore.label(of: domain.id)
    let disks = try GuestDevices(xenstore, domain: domain.id).disks().map(GuestDisk.init)
    try pools().adopt(guest: name, disks: disks, named: named, pool: pool, adopted: adopted)
  }

  /// Who a running guest is, found by name, id or uuid.
  ///
  /// - Throws: `XenError.noSuchDomain`.
  public func running(_ guest: String) throws -> (name: String, uuid: String) {
    let hypervisor = try Hypervisor()
    let xenstore = try XenStore()
    let domain = try hypervisor.find(guest, store: xenstore)
    return (xenstore.label(of: domain.id), domain.uuid)
  }

  /// A release of adopted disks that has not begun; see ``Release``. Needs no Xen: the guest is shut down.
  public func release(_ guest: String, named: [String] = []) throws -> Release {
    _ = try existingStore()
    return try Release(pools(), guest: guest, named: named)
  }
}
