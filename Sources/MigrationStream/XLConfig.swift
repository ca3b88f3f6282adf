/// Why a guest's config cannot be used.
public enum XLConfigError: Error, Equatable {
  case notJSON
  /// `xl list -l` does not name this domain: it is gone.
  case noSuchDomain(UInt32)
  /// A field that every config has is absent or of another type; the path is as in libxl's JSON.
  case badField(String)
}

extension XLConfigError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .notJSON: "guest config is not JSON; is it the output of xl list -l?"
    case .noSuchDomain(let domid): "xl does not know domain \(domid); it is gone"
    case .badField(let path): "guest config has no usable \(path); is it a libxl config of Xen 4.17?"
    }
  }
}

/// A guest's `libxl_domain_config` as JSON, the part of the xl file header from which `xl restore` builds the new domain.
/// Field names: `libxl_types.idl` of Xen 4.17; libxl leaves out fields that hold their default.
public struct XLConfig: Equatable, Sendable {
  public enum GuestType: String, Sendable {
    case pv, pvh, hvm
  }

  public struct Disk: Equatable, Sendable {
    /// As the guest names it: `xvda`.
    public var vdev: String
    /// File or device in the backend domain; nil for an empty drive.
    public var path: String?
    public var isWritable: Bool
    public var isCDROM: Bool
    /// `phy`, `qdisk`, …; nil where libxl was left to choose.
    public var backend: String?
    /// `raw`, `qcow2`, …
    public var format: String?
    /// 0 is dom0; the files of a disk in another driver domain are out of our reach.
    public var backendDomid: UInt64
    /// Backend domain by name, which libxl prefers to the number.
    public var backendName: String?
    /// A hotplug script of its own, which alone knows what `path` means.
    public var script: String?
  }

  /// The config object as libxl reads it.
  public internal(set) var json: JSONValue
  public let type: GuestType
  public internal(set) var name: String
  public internal(set) var uuid: String
  public let maximumVCPUs: UInt64
  /// What restore allows the guest to populate, in KiB: the image must fit.
  public private(set) var targetKiB: UInt64
  public private(set) var maximumKiB: UInt64
  public internal(set) var disks: [Disk]

  /// Takes the config object alone, as it stands in an xl file header.
  /// - Throws: `XLConfigError`
  public init(json text: [UInt8]) throws(XLConfigError) {
    try self.init(JSONValue(parsing: text))
  }

  /// Takes one guest's config out of what `xl list -l` prints: `[{"domid": 7, "config": {…}}, …]`.
  /// - Throws: `XLConfigError`
  public init(list text: [UInt8], domid: UInt32) throws(XLConfigError) {
    let list = try JSONValue(parsing: text)
    guard let guests = list.elements else { throw .badField("list of domains") }
    guard let guest = guests.first(where: { $0["domid"]?.unsigned == UInt64(domid) }) else {
      throw .noSuchDomain(domid)
    }
    guard let config = guest["config"] else { throw .badField("config") }
    try self.init(config)
  }

  private init(_ config: JSONValue) throws(XLConfigError) {
    var json = config
    // Today's handle: libxl would ask for this very domid again, which may belong to another guest by then.
    json["c_info"]?["domid"] = nil
    self.json = json
    guard let typeName = json["c_info"]?["type"]?.text, let type = GuestType(rawValue: typeName) else {
      throw .badField("c_info.type")
    }
    self.type = type
    guard let name = json["c_info"]?["name"]?.text else { throw .badField("c_info.name") }
    self.name = name
    guard let uuid = json["c_info"]?["uuid"]?.text else { throw .badField("c_info.uuid") }
    self.uuid = uuid
    guard let vcpus = json["b_info"]?["max_vcpus"]?.unsigned else { throw .badField("b_info.max_vcpus") }
    maximumVCPUs = vcpus
    guard let target = json["b_info"]?["target_memkb"]?.unsigned else {
      throw .badField("b_info.target_memkb")
    }
    targetKiB = target
    guard let maximum = json["b_info"]?["max_memkb"]?.unsigned else { throw .badField("b_info.max_memkb") }
    maximumKiB = maximum
    disks = try Self.disks(of: json)
  }

  private static func disks(of json: JSONValue) throws(XLConfigError) -> [Disk] {
    var disks: [Disk] = []
    guard let field = json["disks"] else { return disks }
    guard let entries = field.elements else { throw .badField("disks") }
    for (index, entry) in entries.enumerated() {
      guard let vdev = entry["vdev"]?.text else { throw .badField("disks[\(index)].vdev") }
      disks.append(
        Disk(
          vdev: vdev, path: entry["pdev_path"]?.text, isWritable: entry["readwrite"]?.flag ?? false,
          isCDROM: entry["is_cdrom"]?.flag ?? false, backend: entry["backend"]?.text,
          format: entry["format"]?.text, backendDomid: entry["backend_domid"]?.unsigned ?? 0,
          backendName: entry["backend_domname"]?.text, script: entry["script"]?.text))
    }
    return disks
  }

  /// Xen has no log-dirty for a guest with a PCI device, and a device's state is in no stream.
  public var hasPCIDevices: Bool { holds("pcidevs") }
  public var hasUSBDevices: Bool { holds("usbdevs") }
  /// The stream cannot carry virtual NUMA; libxl refuses to save such a guest.
  public var hasVNUMA: Bool { json["b_info"]?["vnuma_nodes"]?.elements?.isEmpty == false }

  func holds(_ list: String) -> Bool { json[list]?.elements?.isEmpty == false }

  /// Allows a restore to populate so much memory, in KiB. A guest that was ballooning while it was saved had more than it was told
  /// to have; restored with the target alone, Xen stops at the limit (EBUSY from populate_physmap).
  public mutating func raiseTarget(toKiB least: UInt64) {
    targetKiB = max(targetKiB, least)
    maximumKiB = max(maximumKiB, targetKiB)
    json["b_info"]?["target_memkb"] = JSONValue(targetKiB)
    json["b_info"]?["max_memkb"] = JSONValue(maximumKiB)
  }

  /// JSON for `StreamWriter.writeXLHeader`, without a trailing NUL.
  public func encoded() -> [UInt8] { json.encoded() }
}
