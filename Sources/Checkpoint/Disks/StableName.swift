import DeviceMapper
import Glibc

/// By what name a pool remembers a device: the kernel deals out `/dev/sdb` and the like anew at each boot, in the order in which
/// it finds the disks.
struct StableName {
  /// Where udev keeps links that are named after what the devices are.
  var links = "/dev/disk/by-id"
  /// The kernel's node behind a path; nil when there is none.
  var node: (String) -> String? = StableName.kernelNode
  /// nil for what is no block device.
  var number: (String) -> DeviceNumber? = { DeviceNumber(ofDevice: $0) }

  /// The link that stays with a device whose node may be another one's after the next boot; without one, and for any other device, the
  /// path as it is.
  ///
  /// - Throws: ``PoolError/unusable(device:why:)`` for a path that is not whole: it is opened by others, from other folders.
  func of(_ path: String) throws -> String {
    guard path.hasPrefix("/") else { throw PoolError.unusable(device: path, why: "name a device by its whole path") }
    guard !path.hasPrefix(links + "/"), Self.changes(node(path) ?? path), let wanted = number(path) else { return path }
    let names = HostFiles.names(in: links).filter { number("\(links)/\($0)") == wanted }
    return Self.best(of: names).map { "\(links)/\($0)" } ?? path
  }

  /// Whether the kernel may give the node to another disk or partition.
  static func changes(_ node: String) -> Bool {
    let name = #/(sd|vd|xvd|hd)[a-z]+[0-9]*|(nvme[0-9]+n|mmcblk)[0-9]+(p[0-9]+)?/#
    return node.hasPrefix("/dev/") && node.dropFirst(5).wholeMatch(of: name) != nil
  }

  /// A name of the disk itself before those of its model and serial number, which some disks share. Those of LVM, md and
  /// device-mapper name the content, which a pool replaces.
  static func best(of names: [String]) -> String? {
    let own = names.filter { name in !["lvm-pv-uuid-", "md-", "dm-"].contains { name.hasPrefix($0) } }.sorted()
    for prefix in ["wwn-", "nvme-eui.", "nvme-uuid."] {
      if let name = own.first(where: { $0.hasPrefix(prefix) }) { return name }
    }
    return own.first
  }

  private static func kernelNode(_ path: String) -> String? {
    guard let real = realpath(path, nil) else { return nil }
    defer { free(real) }
    return String(cString: real)
  }
}
