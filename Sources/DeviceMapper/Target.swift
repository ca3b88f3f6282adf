/// One line of a device-mapper table. Sizes are 512-byte sectors. The words and their order are those of the
/// kernel's admin-guide/device-mapper/thin-provisioning.rst.
public struct Target: Equatable, Sendable, CustomStringConvertible {
  public var start: UInt64
  public var sectors: UInt64
  public var type: String
  public var parameters: String

  public init(start: UInt64 = 0, sectors: UInt64, type: String, parameters: String) {
    self.start = start
    self.sectors = sectors
    self.type = type
    self.parameters = parameters
  }

  /// The form `dmsetup table` prints.
  public var description: String { "\(start) \(sectors) \(type) \(parameters)" }

  /// A pool over all of `data`. `blockSectors` is fixed for the life of the pool: 128…2097152, a multiple of 128.
  /// When free data falls below `lowWaterBlocks` the kernel raises an event. Blocks are zeroed before first use
  /// (guests may share a pool), and a full pool queues writes for the kernel's no_space_timeout before it fails them.
  public static func thinPool(
    metadata: DeviceNumber, data: DeviceNumber, dataSectors: UInt64, blockSectors: UInt64,
    lowWaterBlocks: UInt64
  ) -> Target {
    Target(
      sectors: dataSectors, type: "thin-pool",
      parameters: "\(metadata) \(data) \(blockSectors) \(lowWaterBlocks)")
  }

  /// A volume of a pool. The id must exist when the line is loaded. What the volume has no block for is read from `origin`, a
  /// device outside of the pool whose content must never change.
  public static func thin(
    pool: DeviceNumber, id: ThinID, sectors: UInt64, origin: DeviceNumber? = nil
  ) -> Target {
    Target(sectors: sectors, type: "thin", parameters: "\(pool) \(id)" + (origin.map { " \($0)" } ?? ""))
  }

  /// Another device from its start.
  public static func linear(over device: DeviceNumber, sectors: UInt64) -> Target {
    Target(sectors: sectors, type: "linear", parameters: "\(device) 0")
  }

  /// A device on which every request fails.
  public static func error(sectors: UInt64) -> Target { Target(sectors: sectors, type: "error", parameters: "") }

  /// Whether the kernel prints a line so that was given to it: a pool's with its features behind it (pool_status in dm-thin.c), every
  /// other as it was.
  func isWhatBecame(of given: Target) -> Bool {
    guard type == "thin-pool" else { return self == given }
    return (start, sectors, type) == (given.start, given.sectors, given.type)
      && "\(parameters) ".hasPrefix("\(given.parameters) ")
  }

  /// Pool, id and external origin of a thin line, nil for anything else.
  public var thinVolume: (pool: DeviceNumber, id: ThinID, origin: DeviceNumber?)? {
    let words = parameters.split(separator: " ")
    guard type == "thin", (2...3).contains(words.count), let pool = DeviceNumber(words[0]),
      let id = ThinID(words[1])
    else { return nil }
    guard words.count == 3 else { return (pool, id, nil) }
    guard let origin = DeviceNumber(words[2]) else { return nil }
    return (pool, id, origin)
  }

  /// Metadata and data device of a pool line, nil for anything else.
  public var poolDevices: (metadata: DeviceNumber, data: DeviceNumber)? {
    let words = parameters.split(separator: " ")
    guard type == "thin-pool", words.count >= 4, let metadata = DeviceNumber(words[0]),
      let data = DeviceNumber(words[1])
    else { return nil }
    return (metadata, data)
  }
}

/// The number of a volume or snapshot inside its pool: 0…2^24-1 (kernel: dm_thin_id is 24 bits wide).
public typealias ThinID = UInt32
