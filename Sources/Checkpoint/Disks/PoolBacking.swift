import DeviceMapper
import Glibc

/// The devices or files under a pool.
enum PoolBacking {
  static let smallestData: UInt64 = 128 << 20
  /// The least that holds a superblock, the space maps and the reserve of an epoch.
  static let smallestMetadata: UInt64 = 4 << 20
  /// The kernel uses no more (THIN_METADATA_MAX_SECTORS: 255 bitmaps of 16320 blocks of 4 KiB).
  static let largestMetadata: UInt64 = 255 * 16320 * 4096

  /// 1/64 of the data: some 1000 bytes per 64 KiB block, enough for a mapping in about 16 epochs that share nothing. Sparse, so it costs
  /// nothing until used.
  static func metadataSize(forData size: UInt64) -> UInt64 { min(max(32 << 20, size / 64), largestMetadata) }

  static func makeFiles(_ name: String, in folder: String, size: UInt64) throws -> PoolCatalog.Backing {
    guard folder.hasPrefix("/") else {
      throw PoolError.unusable(device: folder, why: "name a folder by its whole path")
    }
    guard size >= smallestData else { throw tooSmall("\(folder)/\(name).data", size, smallestData) }
    guard mkdir(folder, 0o700) == 0 || errno == EEXIST else {
      throw PoolError.io(operation: "create", path: folder, errno: errno)
    }
    let (data, metadata) = ("\(folder)/\(name).data", "\(folder)/\(name).metadata")
    var made: [String] = []
    do {
      for (file, size) in [(data, size / 65536 * 65536), (metadata, metadataSize(forData: size) / 4096 * 4096)] {
        try makeSparse(file, size: size)
        made.append(file)
      }
      try DurableFile.syncFolder(folder)
    } catch {
      for file in made { unlink(file) }
      throw error
    }
    return .files(data: data, metadata: metadata)
  }

  private static func makeSparse(_ path: String, size: UInt64) throws {
    let file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard file >= 0 else { throw PoolError.io(operation: "create", path: path, errno: errno) }
    defer { close(file) }
    do { try give(file, path, size) } catch {
      unlink(path)
      throw error
    }
  }

  /// - Parameter size: not less than it has.
  static func enlarge(_ path: String, to size: UInt64) throws {
    let file = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW)
    guard file >= 0 else { throw PoolError.io(operation: "open", path: path, errno: errno) }
    defer { close(file) }
    try give(file, path, size)
  }

  private static func give(_ file: Int32, _ path: String, _ size: UInt64) throws {
    guard let length = off_t(exactly: size) else { throw PoolError.io(operation: "size", path: path, errno: EFBIG) }
    guard ftruncate(file, length) == 0, fsync(file) == 0 else {
      throw PoolError.io(operation: "size", path: path, errno: errno)
    }
  }

  /// Removes what `makeFiles` made for a pool that did not come to be.
  static func discardFiles(_ backing: PoolCatalog.Backing) {
    guard case .files(let data, let metadata) = backing else { return }
    for file in [data, metadata] { _ = try? removeFile(file) }
  }

  /// Removes a file that `makeFiles` made, with its loop device.
  ///
  /// - Returns: false when it is gone already.
  static func removeFile(_ file: String) throws -> Bool {
    guard access(file, F_OK) == 0 else { return false }
    if let loop = try LoopDevice.find(file) { try LoopDevice.detach(loop) }
    guard unlink(file) == 0 else { throw PoolError.io(operation: "remove", path: file, errno: errno) }
    return true
  }

  /// Makes devices that were a pool's fit for another one: what it wrote at their starts, and disks that were in it, would be taken for
  /// somebody's. Leaves alone what is not there, and what has no thin metadata: those go last, so that they say what is still to do.
  static func wipe(data: String, metadata: String) throws {
    guard access(metadata, F_OK) == 0, try DeviceSignature.of(metadata) == .thinMetadata else { return }
    for device in [data, metadata] where access(device, F_OK) == 0 { try DeviceSignature.wipe(device) }
  }

  /// Refuses devices that are not ours to take. Files were made by us an instant ago.
  static func check(_ backing: PoolCatalog.Backing, attached: AttachedBacking) throws {
    guard case .devices(let data, let metadata) = backing else { return }
    guard attached.data != attached.metadata else {
      throw PoolError.unusable(device: data, why: "data and metadata are the same device")
    }
    for device in [data, metadata] {
      guard try !BlockDevice.isInUse(device) else {
        throw PoolError.unusable(device: device, why: "it is in use (mounted, or part of another device)")
      }
    }
    for (device, least) in [(data, smallestData), (metadata, smallestMetadata)] {
      let size = try BlockDevice.size(device)
      guard size >= least else { throw tooSmall(device, size, least) }
    }
    for device in [metadata, data] {
      guard let signature = try DeviceSignature.of(device) else { continue }
      let pool =
        "it holds thin-pool metadata: an existing pool; to give that up, run: dd if=/dev/zero of=\(device) bs=4096 count=1; wipefs -a \(device)"
      let other = "it holds \(signature.rawValue); if that may go, run: wipefs -a \(device)"
      throw PoolError.unusable(device: device, why: signature == .thinMetadata ? pool : other)
    }
    guard try BlockDevice.start(metadata, count: 4096).allSatisfy({ $0 == 0 }) else {
      throw PoolError.unusable(
        device: metadata,
        why:
          "its first 4 KiB are not zero; if they may go, run: dd if=/dev/zero of=\(metadata) bs=4096 count=1")
    }
  }

  /// The kernel formats metadata whose first block is zero, and only then.
  static func prepare(_ backing: PoolCatalog.Backing) throws {
    guard case .devices(_, let metadata) = backing else { return }
    try BlockDevice.zeroStart(metadata, count: 4096)
  }

  private static func tooSmall(_ device: String, _ size: UInt64, _ least: UInt64) -> PoolError {
    .unusable(device: device, why: "\(size >> 20) MiB are too small, at least \(least >> 20) MiB are needed")
  }
}
