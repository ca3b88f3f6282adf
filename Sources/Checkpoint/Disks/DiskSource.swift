import DeviceMapper
import Glibc

/// What a disk is copied from: a block device, which nobody else can claim meanwhile, or a raw file. It is only read.
struct DiskSource {
  let path: String
  let identity: SourceIdentity
  let sizeBytes: UInt64
  /// Bytes that its guest read and wrote at a time.
  let sectorBytes: Int
  let content: any DiskContent
}

extension DiskSource {
  /// Opens it, and claims a device.
  ///
  /// - Throws: ``DiskSourceError``.
  init(_ path: String) throws {
    let identity = try SourceIdentity(path)
    do {
      let content = try BlockVolume(claiming: path)
      let (size, sector) = (try Self.size(path, identity), try Self.sectorBytes(path, identity))
      self.init(path: path, identity: identity, sizeBytes: size, sectorBytes: sector, content: content)
    } catch let error as DeviceMapperError {
      if error.code == EBUSY {
        throw DiskSourceError.inUse(path: path, why: "mounted, or part of another device")
      }
      throw DiskSourceError.cannotRead(path: path, why: error.code.map(errnoText) ?? "\(error)")
    }
    guard sizeBytes > 0, sizeBytes % 512 == 0, sizeBytes <= Disks.largest else {
      throw DiskSourceError.badSize(path: path, bytes: sizeBytes)
    }
    try requireRaw()
  }

  private static func size(_ path: String, _ identity: SourceIdentity) throws -> UInt64 {
    guard case .file = identity else { return try BlockDevice.size(path) }
    var status = stat()
    guard stat(path, &status) == 0 else { throw DiskSourceError.cannotRead(path: path, why: errnoText(errno)) }
    return UInt64(status.st_size)
  }

  /// A file's are those of a loop device over it.
  private static func sectorBytes(_ path: String, _ identity: SourceIdentity) throws -> Int {
    guard case .file = identity else { return try BlockDevice.sectorBytes(path) }
    return 512
  }

  private func requireRaw() throws {
    let count = Int(min(sizeBytes, 4096))
    let (start, end) = (try bytes(count, at: 0), try bytes(count, at: sizeBytes - UInt64(count)))
    guard let format = ImageFormat.find(start: start, end: Array(end.suffix(512))) else { return }
    throw DiskSourceError.image(path: path, format)
  }

  private func bytes(_ count: Int, at offset: UInt64) throws -> [UInt8] {
    // Direct I/O wants aligned memory.
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 4096)
    defer { buffer.deallocate() }
    try content.read(buffer, at: offset)
    return Array(buffer)
  }

  /// Backends open a disk without claiming it, so that it can be claimed under a running guest.
  ///
  /// - Parameters:
  ///   - pool: the name of the one that gets the copy.
  ///   - domains: those whose disk it is.
  /// - Throws: ``DiskSourceError/inUse(path:why:)``, ``DiskSourceError/inPool(path:)``,
  ///   ``DiskSourceError/adopted(path:guest:vdev:)``.
  func requireUnused(
    _ pools: Pools, copiedInto pool: String, domains: (SourceIdentity) throws -> [UInt32] = { try $0.domains }
  ) throws {
    if case .device(let number) = identity { try requireMayLeave(number, pools, for: pool) }
    if let domain = try domains(identity).first {
      throw DiskSourceError.inUse(path: path, why: "a disk of domain \(domain); shut the guest down first")
    }
    switch identity {
    case .file:
      guard let loop = try LoopDevice.find(path) else { return }
      throw DiskSourceError.inUse(
        path: path, why: "\(loop) stands on it; take that away first (losetup -d \(loop)), or copy from \(loop)")
    case .device(let number):
      let name = try pools.operations.list().first { $0.number == number }?.name
      // One of them are we.
      if let name, try pools.operations.openers(of: name, atMost: 1, patience: pools.patience) > 1 {
        throw DiskSourceError.inUse(path: path, why: "somebody has it open; shut the guest down first, or unmount it")
      }
    }
  }

  /// A disk may leave a pool for another one. What else we made shows an epoch, or a part of something.
  private func requireMayLeave(_ number: DeviceNumber, _ pools: Pools, for target: String) throws {
    let operations = pools.operations
    for catalog in try pools.catalogs() {
      guard let volume = try catalog.volumes.first(where: { try operations.shows(number, $0) }) else { continue }
      guard volume.origin == nil else {
        throw DiskSourceError.adopted(path: path, guest: volume.guest, vdev: volume.vdev)
      }
      guard catalog.name != target else { throw DiskSourceError.inPool(path: path) }
      return
    }
    guard let name = try operations.list().first(where: { $0.number == number })?.name else { return }
    if try operations.info(name)?.isOurs == true { throw DiskSourceError.inPool(path: path) }
  }

  func isShown(by device: String, _ operations: any ThinPoolOperations) throws -> Bool {
    guard case .device(let number) = identity else { return false }
    return try operations.info(device)?.number == number
  }
}
