import DeviceMapper

/// How large a pool's data are to be in a volume group.
public enum PoolSize: Equatable, Sendable {
  case bytes(UInt64)
  /// Of the whole group, used or not.
  case percent(Int)
}

extension Pools {
  /// Makes volumes for a pool in a volume group of LVM, and the pool on them: `ckpt-NAME-data`, `ckpt-NAME-meta`, and one extent
  /// `ckpt-NAME-spare`, so that metadata that are full can be enlarged though the group is full as well.
  ///
  /// - Parameter epochs: how many of each guest will be kept; metadata are made large enough for them.
  /// - Throws: ``PoolError``; nothing stays behind.
  public func create(_ name: String, group: String, size: PoolSize, keeping epochs: Int) throws {
    try DeviceName.check(name)
    guard !PoolFolder(store: store, name: name).exists else { throw PoolError.exists(pool: name) }
    guard let volumes = PoolVolumes(of: name, group: group) else {
      throw PoolError.unusable(device: group, why: "LVM knows no group of such a name")
    }
    let plan = try PoolPlan(VolumeGroup(group), size, keeping: epochs)
    var made: [LogicalVolume] = []
    do {
      for (volume, extents) in [(volumes.data, plan.data), (volumes.metadata, plan.metadata), (volumes.spare, 1)] {
        try volume.make(extents: extents)
        made.append(volume)
      }
      try create(name, data: volumes.data.path, metadata: volumes.metadata.path)
    } catch {
      for volume in made.reversed() { try? volume.remove() }
      throw error
    }
  }
}

/// What is made for a pool in a volume group.
struct PoolVolumes: Equatable {
  let data, metadata, spare: LogicalVolume

  /// In the order in which they are removed.
  var all: [LogicalVolume] { [spare, metadata, data] }

  /// nil for what LVM would not take as the group's name.
  init?(of pool: String, group: String) {
    guard let data = LogicalVolume("\(group)/ckpt-\(pool)-data"),
      let metadata = LogicalVolume("\(group)/ckpt-\(pool)-meta"),
      let spare = LogicalVolume("\(group)/ckpt-\(pool)-spare")
    else { return nil }
    (self.data, self.metadata, self.spare) = (data, metadata, spare)
  }

  /// nil for a pool that lies on something else.
  init?(under catalog: PoolCatalog) {
    guard case .devices(let path, _) = catalog.backing, let group = LogicalVolume(path: path)?.group else { return nil }
    self.init(of: catalog.name, group: group)
    guard catalog.backing == .devices(data: data.path, metadata: metadata.path) else { return nil }
  }
}

/// A group's sizes. Bytes per extent, the rest in extents.
struct VolumeGroup: Equatable {
  let name: String
  let extent: UInt64
  let total: UInt64
  let free: UInt64

  init(_ name: String) throws {
    let output = try Command.run([
      "vgs", "--noheadings", "--units", "b", "--nosuffix", "--options", "vg_extent_size,vg_extent_count,vg_free_count",
      name,
    ])
    let text = String(decoding: output, as: UTF8.self)
    let numbers = text.split(whereSeparator: \.isWhitespace).compactMap { UInt64($0) }
    guard numbers.count == 3, numbers[0] > 0 else {
      throw PoolError.unusable(device: name, why: "the output of vgs was not understood: '\(text)'")
    }
    self.init(name: name, extent: numbers[0], total: numbers[1], free: numbers[2])
  }

  init(name: String, extent: UInt64, total: UInt64, free: UInt64) {
    (self.name, self.extent, self.total, self.free) = (name, extent, total, free)
  }
}

/// Sizes of a pool's volumes, in extents.
struct PoolPlan: Equatable {
  let data: UInt64
  let metadata: UInt64

  /// - Throws: `PoolError.unusable` when they, and one extent to spare, do not fit.
  init(_ group: VolumeGroup, _ size: PoolSize, keeping epochs: Int) throws {
    switch size {
    case .bytes(let bytes): data = bytes / group.extent + (bytes % group.extent == 0 ? 0 : 1)
    case .percent(let percent): data = group.total * UInt64(percent) / 100
    }
    let bytes = min(data, group.total) * group.extent
    guard bytes >= PoolBacking.smallestData else {
      throw PoolError.unusable(
        device: group.name,
        why: "\(ByteCount.text(bytes)) are too small, at least \(ByteCount.text(PoolBacking.smallestData)) are needed")
    }
    let metadataBytes = PoolBacking.metadataSize(forData: bytes, keeping: epochs)
    metadata = (metadataBytes + group.extent - 1) / group.extent
    let all = data + metadata + 1
    guard all <= group.free else {
      throw PoolError.unusable(
        device: group.name,
        why:
          "\(ByteCount.text(group.free * group.extent)) of it are free; beside the data \(metadata) extents of metadata and a "
          + "spare one are needed; say a smaller --size")
    }
  }
}

extension PoolBacking {
  /// What the mappings of all blocks take (leaves of 4 KiB that hold 126 to 252 of them: 32 bytes for each at worst), and for each
  /// epoch that is kept a tenth of that again: leaves that differ from its neighbours'. Never less than for a pool of unknown use.
  static func metadataSize(forData size: UInt64, keeping epochs: Int) -> UInt64 {
    let tree = size / 65536 * 32
    let (perEpoch, all) = (tree / 10, UInt64(max(0, min(epochs, 1 << 20))))
    return min(max(metadataSize(forData: size), tree + perEpoch * all), largestMetadata)
  }
}

extension LogicalVolume {
  static let poolTag = "ckpt-pool"

  /// Makes it, active, with its first sectors and all known signatures wiped.
  func make(extents: UInt64) throws {
    try Command.run([
      "lvcreate", "--quiet", "--yes", "--zero", "y", "--wipesignatures", "y", "--extents", String(extents), "--addtag",
      Self.poolTag, "--name", name, group,
    ])
  }

  func remove() throws { try Command.run(["lvremove", "--quiet", "--yes", description]) }

  /// Whether LVM has it, with the tag of volumes that were made for pools.
  func isOfPool() throws -> Bool {
    let output = try Command.run(["lvs", "--noheadings", "--options", "vg_name,lv_name,lv_tags"])
    return isListed(String(decoding: output, as: UTF8.self), tag: Self.poolTag)
  }

  /// - Parameter output: a line for each volume: its group, its name, its tags with commas between them.
  func isListed(_ output: String, tag: String) -> Bool {
    output.split(separator: "\n").contains { line in
      let words = line.split(whereSeparator: \.isWhitespace)
      return words.count == 3 && words[0] == group && words[1] == name
        && words[2].split(separator: ",").contains { $0 == tag }
    }
  }
}
