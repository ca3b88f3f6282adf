/// What a clone must not share with the guest that it is made of (xen.md 6.4): libxl would wipe the original's `/vm/UUID`, refuse its
/// name, or let two guests write to one disk.
extension XLConfig {
  public var interfaceCount: Int { json["nics"]?.elements?.count ?? 0 }

  /// The MAC addresses, in the order of the interfaces.
  public var macs: [String] { (json["nics"]?.elements ?? []).compactMap { $0["mac"]?.text } }

  /// Calls the guest otherwise.
  public mutating func rename(to name: String) {
    self.name = name
    json["c_info"]?["name"] = .string(name)
  }

  /// Makes this the configuration of another guest. Everything that the guest's kernel knows stays: vCPUs, memory, the names of its
  /// devices.
  ///
  /// - Parameters:
  ///   - macs: one for each interface.
  ///   - paths: by vdev, for the disks that are to have another backing device.
  /// - Throws: `badField` for a disk that the configuration does not have, or a MAC too few.
  public mutating func becomeClone(
    name: String, uuid: String, macs: [String], paths: [String: String]
  ) throws(XLConfigError) {
    rename(to: name)
    self.uuid = uuid
    json["c_info"]?["uuid"] = .string(uuid)
    try setInterfaces(macs)
    try setDisks(paths)
    setDisplays()
  }

  private mutating func setInterfaces(_ macs: [String]) throws(XLConfigError) {
    guard var interfaces = json["nics"]?.elements else { return }
    guard macs.count == interfaces.count else { throw .badField("nics") }
    for index in interfaces.indices {
      interfaces[index]["mac"] = .string(macs[index])
      // The name of the interface in dom0; libxl makes one of the new domid.
      interfaces[index]["ifname"] = nil
    }
    json["nics"] = .array(interfaces)
  }

  /// Gives disks another backing device, by vdev.
  ///
  /// - Throws: `badField` for a disk that the configuration does not have.
  public mutating func setDisks(_ paths: [String: String]) throws(XLConfigError) {
    var entries = json["disks"]?.elements ?? []
    for (vdev, path) in paths {
      guard let index = disks.firstIndex(where: { $0.vdev == vdev }) else { throw .badField("disk \(vdev)") }
      entries[index]["pdev_path"] = .string(path)
      disks[index].path = path
    }
    if !entries.isEmpty { json["disks"] = .array(entries) }
  }

  /// Two guests cannot listen on one display: the clone takes the next that is free.
  private mutating func setDisplays() {
    guard var displays = json["vfbs"]?.elements else { return }
    for index in displays.indices where displays[index]["vnc"] != nil {
      displays[index]["vnc"]?["display"] = nil
      // libxl's own words for its flags of three states.
      displays[index]["vnc"]?["findunused"] = .string("True")
    }
    json["vfbs"] = .array(displays)
  }

  /// What two guests cannot share and what cannot be made anew; nil when there is nothing.
  public var obstacleToClone: String? {
    holds("channels") ? "it has a channel, whose socket or terminal two guests cannot share" : nil
  }
}
