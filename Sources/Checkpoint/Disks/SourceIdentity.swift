import Glibc
import Xen

import struct DeviceMapper.DeviceNumber

/// What a path leads to, by whichever of its names: a block device, or a regular file.
enum SourceIdentity: Equatable {
  case device(DeviceNumber)
  case file(device: UInt64, inode: UInt64)

  /// - Throws: ``DiskSourceError/cannotRead(path:why:)`` for what is neither.
  init(_ path: String) throws {
    var status = stat()
    guard stat(path, &status) == 0 else {
      throw DiskSourceError.cannotRead(path: path, why: errnoText(errno))
    }
    if let number = DeviceNumber(ofDevice: path) {
      self = .device(number)
    } else if status.st_mode & S_IFMT == S_IFREG {
      self = .file(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
    } else {
      throw DiskSourceError.cannotRead(path: path, why: "it is neither a block device nor a file")
    }
  }

  /// The domains of which this is a disk, or a part of one, or one a part of it. None where there is no Xen.
  var domains: [UInt32] {
    get throws {
      guard Hypervisor.isThere else { return [] }
      let served = try GuestDevices.served(XenStore())
      let named = served.filter { (try? SourceIdentity($0.path)) == self }.map { $0.domain }
      guard case .device(let number) = self else { return named }
      return try number.sharing().flatMap(PoolBacking.domains) + named
    }
  }
}
