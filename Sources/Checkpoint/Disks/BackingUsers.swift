import Xen

import struct DeviceMapper.DeviceNumber

extension PoolBacking {
  /// Refuses devices that a guest uses: its backend opens a disk without claiming it, so that others can still claim it.
  ///
  /// - Parameters:
  ///   - patience: seconds to wait for whoever has one open for an instant.
  ///   - domains: those whose disk a device is.
  /// - Throws: `PoolError.unusable`.
  static func checkUsers(
    _ backing: PoolCatalog.Backing, _ attached: AttachedBacking, _ operations: any ThinPoolOperations, patience: Double,
    domains: (DeviceNumber) throws -> [UInt32] = { try PoolBacking.domains(using: $0) }
  ) throws {
    guard case .devices(let data, let metadata) = backing else { return }
    for (path, number) in [(data, attached.data), (metadata, attached.metadata)] {
      if let domain = try domains(number).first {
        throw PoolError.unusable(device: path, why: "it is in use: a disk of domain \(domain)")
      }
      let name = try operations.list().first { $0.number == number }?.name
      if let name, try operations.openers(of: name, atMost: 0, patience: patience) > 0 {
        throw PoolError.unusable(device: path, why: "it is in use: somebody has it open")
      }
    }
  }

  /// None where there is no Xen.
  static func domains(using number: DeviceNumber) throws -> [UInt32] {
    guard Hypervisor.isThere else { return [] }
    return try GuestDevices.domains(using: .init(major: number.major, minor: number.minor), XenStore())
  }
}
