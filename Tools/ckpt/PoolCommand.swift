import ArgumentParser
import Checkpoint
import DeviceMapper

struct PoolCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pool", abstract: "Thin pools, which hold guests' disks and their epochs.",
    subcommands: [Create.self, Show.self, Grow.self, Start.self])

  struct Create: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Make a pool on two devices, or in files for a trial.")

    @Argument(help: "Name of the pool: a-z, 0-9 and -.") var name: String
    @Option(help: "Device for the disks' data; its content is lost.") var data: String?
    @Option(help: "Device for the pool's metadata; its content is lost.") var metadata: String?
    @Option(help: "Folder for a trial pool's files.") var file: String?
    @Option(help: "Size of a trial pool, like 10G.") var size: String?
    @Flag(help: "Do not ask; needed without a terminal.") var yes = false
    @OptionGroup var common: CommonOptions

    func validate() throws {
      let onDevices = data != nil && metadata != nil && file == nil && size == nil
      let inFiles = file != nil && size != nil && data == nil && metadata == nil
      guard onDevices || inFiles else {
        throw ValidationError("Name either --data DEVICE --metadata DEVICE, or --file FOLDER --size SIZE.")
      }
    }

    func run() throws {
      let bytes = try size.map(Quantity.parseBytes)
      let pools = try common.engine.pools()
      if let data, let metadata {
        try Terminal.confirm("All content of \(data) and \(metadata) is lost.", yes: yes)
        try pools.create(name, data: data, metadata: metadata)
      } else if let file, let bytes {
        try pools.create(name, file: file, size: bytes)
      }
      try PoolReportView.show([pools.status(name)], json: common.json)
    }
  }

  struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show pools and the room in them.")

    @Argument(help: "Name of a pool; all when left out.") var name: String?
    @OptionGroup var common: CommonOptions

    func run() throws {
      _ = try common.engine.existingStore()
      let pools = try common.engine.pools()
      try PoolReportView.show(name.map { [try pools.status($0)] } ?? pools.list(), json: common.json)
    }
  }
}

extension PoolCommand {
  struct Grow: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Make a pool larger while guests use it.",
      discussion: """
        A trial pool's files get the sizes that you say. Devices are enlarged first, as lvextend does; the pool then takes in \
        what they have. A pool cannot shrink.
        """)

    @Argument(help: "Name of the pool.") var name: String
    @Option(help: "Size of a trial pool's data, like 20G.") var dataSize: String?
    @Option(help: "Size of a trial pool's metadata, like 256M.") var metadataSize: String?
    @OptionGroup var common: CommonOptions

    func run() throws {
      let (data, metadata) = (try dataSize.map(Quantity.parseBytes), try metadataSize.map(Quantity.parseBytes))
      _ = try common.engine.existingStore()
      let pools = try common.engine.pools()
      try pools.grow(name, data: data, metadata: metadata)
      try PoolReportView.show([pools.status(name)], json: common.json)
    }
  }

  struct Start: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Make the devices of all pools and disks again, after the host was booted.",
      discussion: "Devices that a killed take left suspended run on. Does nothing to what is there already.")

    @OptionGroup var common: CommonOptions

    func run() throws {
      _ = try common.engine.existingStore()
      let pools = try common.engine.pools()
      try pools.resumeSuspended()
      for name in pools.names() { try pools.ensureActive(name) }
      try PoolReportView.show(pools.list(), json: common.json)
    }
  }
}
