/// One block device of a guest, as dom0's side of xenstore describes it.
public struct GuestDisk: Sendable, Equatable {
  /// Its name inside the guest, such as `xvda`.
  public let vdev: String
  /// What the configuration named.
  public let path: String
  /// Device number of the backing device in dom0; nil when the backend is no block device of dom0.
  public let device: DeviceNumber?
  public let isReadOnly: Bool

  public init(vdev: String, path: String, device: DeviceNumber?, isReadOnly: Bool) {
    self.vdev = vdev
    self.path = path
    self.device = device
    self.isReadOnly = isReadOnly
  }
}

/// A Linux block device number.
public struct DeviceNumber: Sendable, Equatable, Hashable, CustomStringConvertible {
  public let major: UInt32
  public let minor: UInt32
  public init(major: UInt32, minor: UInt32) {
    self.major = major
    self.minor = minor
  }
  public var description: String { "\(major):\(minor)" }
}

/// Reads what devices a guest has, from nodes that only dom0 can write.
public struct GuestDevices {
  let store: XenStore
  let domain: UInt32

  public init(_ store: XenStore, domain: UInt32) {
    self.store = store
    self.domain = domain
  }

  /// Kinds that carry no state beyond memory and disks; everything else would be lost or wrong after a restore.
  private static let harmless: Set<String> = ["vbd", "qdisk", "vif", "console", "vkbd", "vfb", "suspend"]

  /// - Throws: ``XenError/unsupported(domain:_:)`` for a device whose state an epoch cannot hold.
  public func requireSupported() throws(XenError) {
    var kinds: [String] = []
    for kind in try store.list("/libxl/\(domain)/device") {
      if try !store.list("/libxl/\(domain)/device/\(kind)").isEmpty { kinds.append(kind) }
    }
    let backends = try store.list("/local/domain/0/backend/pci/\(domain)")
    if kinds.contains("pci") || !backends.isEmpty {
      throw .unsupported(
        domain: domain,
        "it has a PCI device passed through, whose state cannot be saved; detach it first: xl pci-detach \(domain) BDF")
    }
    if let other = kinds.first(where: { !GuestDevices.harmless.contains($0) }) {
      throw .unsupported(domain: domain, "it has a \(other) device, whose state an epoch cannot hold; detach it first")
    }
  }

  /// All block devices, in the order of their names.
  public func disks() throws(XenError) -> [GuestDisk] {
    var disks: [GuestDisk] = []
    for id in try store.list("/libxl/\(domain)/device/vbd") {
      let backend = try store.read("/libxl/\(domain)/device/vbd/\(id)/backend") ?? ""
      let isBlockBackend = backend.hasPrefix("/local/domain/0/backend/vbd/")
      disks.append(
        try GuestDisk(
          vdev: store.read("\(backend)/dev") ?? "vbd-\(id)", path: store.read("\(backend)/params") ?? backend,
          device: isBlockBackend ? GuestDevices.device(behind: backend, store) : nil,
          isReadOnly: store.read("\(backend)/mode") == "r"))
    }
    return disks.sorted { $0.vdev < $1.vdev }
  }

  /// The domains that a backend of dom0 serves from a block device.
  public static func domains(using device: DeviceNumber, _ store: XenStore) throws(XenError) -> [UInt32] {
    let backends = "/local/domain/0/backend/vbd"
    var domains: [UInt32] = []
    for domain in try store.list(backends) {
      guard let number = UInt32(domain) else { continue }
      for id in try store.list("\(backends)/\(domain)") {
        guard try self.device(behind: "\(backends)/\(domain)/\(id)", store) == device else { continue }
        domains.append(number)
        break
      }
    }
    return domains
  }

  private static func device(behind backend: String, _ store: XenStore) throws(XenError) -> DeviceNumber? {
    guard let text = try store.read("\(backend)/physical-device") else { return nil }
    return number(text)
  }

  /// What backends of dom0 serve, by the names that they were given, and to whom.
  public static func served(_ store: XenStore) throws(XenError) -> [(domain: UInt32, path: String)] {
    var served: [(domain: UInt32, path: String)] = []
    for kind in ["vbd", "qdisk"] {
      let backends = "/local/domain/0/backend/\(kind)"
      for domain in try store.list(backends) {
        guard let number = UInt32(domain) else { continue }
        for id in try store.list("\(backends)/\(domain)") {
          guard let parameters = try store.read("\(backends)/\(domain)/\(id)/params") else { continue }
          served.append((number, path(in: parameters)))
        }
      }
    }
    return served
  }

  /// The device or file in `params`, before which stands a format where a process serves it: `aio:/var/lib/web.img`.
  public static func path(in parameters: String) -> String {
    guard !parameters.hasPrefix("/"), let colon = parameters.firstIndex(of: ":") else { return parameters }
    return String(parameters[parameters.index(after: colon)...])
  }

  /// `fd:3`: hexadecimal major and minor, as the hotplug script writes `physical-device`.
  static func number(_ text: String) -> DeviceNumber? {
    let parts = text.split(separator: ":")
    guard parts.count == 2, let major = UInt32(parts[0], radix: 16), let minor = UInt32(parts[1], radix: 16) else {
      return nil
    }
    return DeviceNumber(major: major, minor: minor)
  }

  /// Whether dom0's backends of this domain are all gone, so that no write of it is still under way.
  public func areGone() throws(XenError) -> Bool {
    for kind in ["vbd", "qdisk", "vif"] {
      guard try store.list("/local/domain/0/backend/\(kind)/\(domain)").isEmpty else { return false }
    }
    return true
  }
}
