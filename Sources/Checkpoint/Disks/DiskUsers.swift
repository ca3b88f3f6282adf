import Xen

import struct DeviceMapper.DeviceNumber

/// Who may have disks open that are turned back: the guest that is to be destroyed, nobody else.
public struct DiskUsers: Equatable, Sendable {
  /// The block devices that the guest's backends hold.
  var held: Set<DeviceNumber> = []
  /// How many may have one of those open, and any other disk; nil for any number.
  var ofHeld: Int? = 0
  var ofOthers: Int? = 0

  public static let nobody = DiskUsers()

  /// Those that one guest has by rights. A process that serves one of its disks may open it any number of times, and by any name.
  ///
  /// - Parameter disks: as xenstore shows them.
  static func guest(with disks: [Xen.GuestDisk]) -> DiskUsers {
    let numbers = disks.filter { $0.device != nil }.map { GuestDisk($0).number }
    return DiskUsers(held: Set(numbers), ofHeld: 1, ofOthers: numbers.count == disks.count ? 0 : nil)
  }

  /// The same when that guest was destroyed: of what it held nothing is refused any more that was not before.
  var afterItsEnd: DiskUsers { DiskUsers(held: held, ofHeld: nil, ofOthers: ofOthers) }
}

extension OpenPool {
  /// Whether somebody has the disk open who should not.
  func isUsed(_ volume: PoolCatalog.Volume, byOthersThan users: DiskUsers) throws -> Bool {
    guard let most = try isHeld(volume, users.held) ? users.ofHeld : users.ofOthers else { return false }
    return try isUsed(volume, byMoreThan: most)
  }

  private func isHeld(_ volume: PoolCatalog.Volume, _ held: Set<DeviceNumber>) throws -> Bool {
    guard let origin = volume.origin else {
      return try operations.info(volume.device).map { held.contains($0.number) } ?? false
    }
    return try held.contains { try operations.shows($0, volume, origin) }
  }
}
