import DeviceMapper

extension Pools {
  /// Takes away the devices of a pool that nobody uses: guests' disks, what they stand on, and the pool. Data and catalogue stay;
  /// ``ensureActive(_:)`` makes the devices again.
  ///
  /// It is for a host that goes down. The old device of an adopted disk stands on the pool, and the pool on a volume of the same group:
  /// LVM's `blkdeactivate`, which takes a group down from the top, would go round in that circle until systemd kills it.
  ///
  /// - Returns: devices that stay, because somebody has them open.
  /// - Throws: `PoolError.unknown`, `PoolError.locked`, `DeviceMapperError`.
  public func stop(_ name: String) throws -> [String] {
    let folder = PoolFolder(store: store, name: name)
    guard folder.exists else { throw PoolError.unknown(pool: name) }
    let lock = try folder.lock(wait: lockWait, mayGoOn)
    defer { withExtendedLifetime(lock) {} }
    let catalog = try folder.load()
    return try devicesFromTheTop(catalog).filter { device in
      guard let info = try operations.info(device.name), info.uuid == device.uuid else { return false }
      guard info.openCount == 0 else { return true }
      try operations.remove(device.name)
      return false
    }.map(\.name)
  }

  /// What stands on others comes before them.
  private func devicesFromTheTop(_ catalog: PoolCatalog) -> [(name: String, uuid: String)] {
    func ours(_ device: String) -> (name: String, uuid: String) { (device, catalog.uuid(ofDevice: device)) }
    let old = catalog.volumes.compactMap(\.origin).filter { $0.state == .adopted }.map { ($0.device, $0.uuid) }
    let origins = Set(catalog.volumes.filter(\.hasOrigin).map(\.originDevice)).sorted()
    return old + catalog.volumes.map { ours($0.device) } + origins.map(ours) + [(catalog.poolDevice, catalog.poolUUID)]
  }
}
