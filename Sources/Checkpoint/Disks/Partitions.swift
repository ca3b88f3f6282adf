import Glibc

import struct DeviceMapper.DeviceNumber

extension DeviceNumber {
  /// The device itself, and those that share blocks with it: a disk's partitions, or the disk of a partition. A backend that serves one of
  /// them claims neither, so that the other one can be claimed meanwhile.
  ///
  /// - Parameter sysfs: folder of links by number (Documentation/ABI/stable/sysfs-dev).
  func sharing(sysfs: String = "/sys/dev/block") -> [DeviceNumber] {
    func isPartition(_ folder: String) -> Bool { access("\(folder)/partition", F_OK) == 0 }
    let folder = "\(sysfs)/\(self)"
    let disk = isPartition(folder) ? ["\(folder)/.."] : []
    let partitions = HostFiles.names(in: folder).map { "\(folder)/\($0)" }.filter(isPartition)
    return [self]
      + (disk + partitions).compactMap {
        HostFiles.text("\($0)/dev").split(separator: "\n").first.flatMap { DeviceNumber($0) }
      }
  }
}
