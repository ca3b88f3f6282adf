/// What an adopted disk was before: a volume of LVM, whose data stay where they are and are read where the disk has not written
/// since. From then on nobody may write there. The volume's own device shows the disk, so that every path to it does.
struct AdoptedOrigin: Codable, Equatable, Sendable {
  enum State: String, Codable, Sendable {
    /// Our volume is there, but the guest may still write to the old one: the swap is not known to have happened.
    case adopting
    case adopted
    /// What changed since the adoption is being copied back. The disk still shows the newest content, its epochs are gone.
    case releasing
    /// The old volume has the newest content; only our part is still to be removed.
    case released
  }

  /// `vg0/web`.
  var volume: String
  /// The device-mapper device whose number the guest's backend holds, and its uuid, which LVM makes from its own.
  var device: String
  var uuid: String
  /// What the guest's configuration named.
  var path: String
  var state: State
  /// Hash of parts of the origin's content, taken right after the swap.
  var sample: String?
  /// Another tool's table was seen over ours while somebody used the device: what that one wrote may lie anywhere in the origin, where no
  /// sample finds it. Stays until the disk is released.
  var wasPassedBy: Bool?

  enum CodingKeys: String, CodingKey {
    case volume, device, uuid, path, state, sample
    case wasPassedBy = "was_passed_by"
  }
}

extension PoolCatalog {
  var holdsOrigins: Bool {
    if case .createVolume(let volume)? = intent?.change, volume.origin != nil { return true }
    return volumes.contains { $0.origin != nil }
  }

  var holdsPassedOrigins: Bool { volumes.contains { $0.origin?.wasPassedBy == true } }

  mutating func changeOrigin(of device: String, _ body: (inout AdoptedOrigin) -> Void) {
    guard let index = volumes.firstIndex(where: { $0.device == device }), var origin = volumes[index].origin else {
      return
    }
    body(&origin)
    volumes[index].origin = origin
  }

  /// - Throws: `AdoptionError.isAdopted` for an adopted disk.
  func refuseAdopted(_ device: String) throws {
    guard let volume = volumes.first(where: { $0.device == device }), let origin = volume.origin else { return }
    throw AdoptionError.isAdopted(guest: volume.guest, vdev: volume.vdev, volume: origin.volume)
  }

  /// Forgets a volume and all that was made of it; the pool is still to delete them.
  mutating func drop(_ volume: Volume) {
    doomed.append(volume.thinID)
    doomSnapshots(of: volume)
    volumes.removeAll { $0.device == volume.device }
  }

  mutating func doomSnapshots(of volume: Volume) {
    doomed += epochs.filter { $0.device == volume.device }.map(\.thinID)
    doomed += superseded.filter { $0.device == volume.device }.map(\.thinID)
    epochs.removeAll { $0.device == volume.device }
    superseded.removeAll { $0.device == volume.device }
  }
}
