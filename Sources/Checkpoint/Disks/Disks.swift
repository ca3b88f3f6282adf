import DeviceMapper

/// The disks that guests have in our pools.
public struct Disks: Sendable {
  let pools: Pools

  public init(_ pools: Pools) { self.pools = pools }

  /// A disk as `ckpt disk list` shows it.
  public struct Entry: Equatable, Sendable {
    public var guest: String
    public var vdev: String
    public var pool: String
    /// What the guest's configuration names: `/dev/mapper/ckpt-GUEST-VDEV`.
    public var path: String
    public var sizeBytes: UInt64
    public var epochs: Int
    /// The volume that an adopted disk was before, and still stands on: `/dev/vg0/web`.
    public var origin: String?
  }

  public func list() throws -> [Entry] {
    try pools.catalogs().flatMap { catalog in
      catalog.volumes.map { volume in
        Entry(
          guest: volume.guest, vdev: volume.vdev, pool: catalog.name, path: "/dev/mapper/\(volume.device)",
          sizeBytes: volume.sizeSectors * 512, epochs: catalog.epochs.count { $0.device == volume.device },
          origin: volume.origin.map { "/dev/\($0.volume)" })
      }
    }
  }

  /// Makes an empty disk for a guest.
  ///
  /// - Parameters:
  ///   - vdev: name inside the guest: `xvda`, `sdb`, `hdc1`.
  ///   - size: bytes, rounded up to the pool's block (64 KiB).
  ///   - pool: nil for the only pool there is.
  /// - Returns: the path that the guest's configuration is to name.
  public func create(guest: String, vdev: String, size: UInt64, pool: String? = nil) throws -> String {
    guard size > 0, size <= Self.largest else {
      throw DiskError.badName("\(size)", why: "a disk's size is 1 byte to 16 TiB")
    }
    let opened = try pools.open(pool ?? pools.defaultName())
    let block = opened.catalog.blockSectors * 512
    let sectors = (size + block - 1) / block * opened.catalog.blockSectors
    return try create(guest: guest, vdev: vdev, sectors: sectors, in: opened)
  }

  static let largest: UInt64 = 16 << 40

  private func create(
    guest: String, vdev: String, sectors: UInt64, in pool: OpenPool
  ) throws -> String {
    let device = try Self.deviceName(guest: guest, vdev: vdev)
    try requireFree(device, for: guest)
    try PoolReserve.checkHealth(pool.catalog, pool.operations.poolStatus(pool.device))

    var id: ThinID = 0
    try pool.perform { catalog in
      id = try catalog.takeThinID()
      return .createVolume(
        volume: PoolCatalog.Volume(guest: guest, vdev: vdev, thinID: id, sizeSectors: sectors, device: device))
    } _: {
      try pool.operations.createThin(pool: pool.device, id: id)
    }
    return "/dev/mapper/\(device)"
  }

  /// `ckpt-GUEST-VDEV`. Characters of a guest's name that device-mapper would escape become `-`; two guests whose names become the
  /// same then collide, and the second is refused.
  static func deviceName(guest: String, vdev: String) throws -> String {
    let plain = String(
      guest.lowercased().map { $0.isASCII && ($0.isLetter || $0.isNumber) ? $0 : Character("-") })
    do { try DeviceName.check(plain) } catch {
      throw DiskError.badName(
        guest, why: "a guest's name must begin with a letter or digit, at most 96 characters")
    }
    guard isVirtualDevice(vdev) else {
      throw DiskError.badName(
        vdev, why: "a disk is called xvdX, sdX or hdX, X being letters, then maybe a number")
    }
    return "\(DeviceName.namePrefix)\(plain)-\(vdev)"
  }

  private static func isVirtualDevice(_ vdev: String) -> Bool {
    guard let prefix = ["xvd", "sd", "hd"].first(where: vdev.hasPrefix) else { return false }
    let rest = vdev.dropFirst(prefix.count)
    let letters = rest.prefix { ("a"..."z").contains($0) }
    let digits = rest.dropFirst(letters.count)
    return (1...3).contains(letters.count) && digits.count <= 3
      && digits.allSatisfy { ("0"..."9").contains($0) }
  }
}

extension PoolCatalog {
  func snapshots(_ guestUUID: String, _ epoch: Int) -> [Snapshot] {
    epochs.filter { $0.guestUUID == guestUUID && $0.epoch == epoch }
  }

  func has(_ guestUUID: String, _ epoch: Int) -> Bool { !snapshots(guestUUID, epoch).isEmpty }
}
