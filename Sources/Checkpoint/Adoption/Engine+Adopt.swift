import Xen

extension Engine {
  /// Moves disks of a running guest into a pool; see ``Pools/adopt(guest:disks:named:pool:adopted:)``.
  ///
  /// - Parameters:
  ///   - guest: by name, id or uuid.
  ///   - named: the disks to adopt; all writable ones when empty.
  ///   - adopted: told the guest's name and each disk as soon as it is adopted, whatever comes of the next one.
  /// - Returns: the guest's name.
  public func adopt(
    _ guest: String, named: [String] = [], pool: String? = nil,
    adopted: (_ guest: String, AdoptedDisk) -> Void
  ) throws -> String {
    let hypervisor = try Hypervisor()
    let xenstore = try XenStore()
    let domain = try hypervisor.find(guest, store: xenstore)
    guard domain.id != 0 else { throw CheckpointError.isDomainZero }
    let name = xenstore.name(of: domain.id) ?? "domain \(domain.id)"
    let disks = GuestDevices(xenstore, domain: domain.id).disks().map(GuestDisk.init)
    try pools().adopt(guest: name, disks: disks, named: named, pool: pool) { adopted(name, $0) }
    return name
  }

  /// A release of adopted disks that has not begun; see ``Release``. Needs no Xen: the guest is shut down.
  public func release(_ guest: String, named: [String] = []) throws -> Release {
    _ = try existingStore()
    return try Release(pools(), guest: guest, named: named)
  }
}
