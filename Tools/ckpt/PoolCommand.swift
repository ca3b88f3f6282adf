import ArgumentParser
import Checkpoint
import DeviceMapper

struct PoolCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pool", abstract: "Thin pools, which hold guests' disks and their epochs.",
    subcommands: [Create.self, Show.self, Start.self])

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

/// How a pool is printed.
private struct PoolReportView: Encodable {
  let name, device, data, metadata: String
  let state: String
  let volumes, snapshots: Int
  let dataBytes, dataFreeBytes, metadataBytes, metadataFreeBytes: UInt64?
  let problem: String?

  enum CodingKeys: String, CodingKey {
    case name, device, data, metadata, state, volumes, snapshots, problem
    case dataBytes = "data_bytes"
    case dataFreeBytes = "data_free_bytes"
    case metadataBytes = "metadata_bytes"
    case metadataFreeBytes = "metadata_free_bytes"
  }

  init(_ report: PoolReport) {
    name = report.name
    device = report.device
    data = report.data
    metadata = report.metadata
    state = report.status?.mode.rawValue ?? "inactive"
    volumes = report.volumes
    snapshots = report.snapshots
    dataBytes = report.status.map { $0.totalDataBlocks * report.blockBytes }
    dataFreeBytes = report.status.map { $0.freeDataBlocks * report.blockBytes }
    metadataBytes = report.status?.totalMetadataBytes
    metadataFreeBytes = report.status?.freeMetadataBytes
    problem = report.problem
  }

  static func show(_ reports: [PoolReport], json: Bool) throws {
    let views = reports.map(PoolReportView.init)
    if json { return try Terminal.printJSON(views) }
    func room(_ free: UInt64?, _ all: UInt64?) -> String {
      guard let free, let all else { return "-" }
      return "\(Quantity.bytes(free)) of \(Quantity.bytes(all))"
    }
    let rows = views.map {
      [
        $0.name, $0.state, room($0.dataFreeBytes, $0.dataBytes), room($0.metadataFreeBytes, $0.metadataBytes),
        String($0.volumes), String($0.snapshots),
      ]
    }
    Terminal.printTable([["POOL", "STATE", "DATA FREE", "METADATA FREE", "DISKS", "SNAPSHOTS"]] + rows)
    for view in views { if let problem = view.problem { print("\(view.name): \(problem)") } }
  }
}
