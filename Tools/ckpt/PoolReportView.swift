import Checkpoint
import DeviceMapper

/// How a pool is printed.
struct PoolReportView: Encodable {
  let name, device, data, metadata: String
  let state: String
  let volumes, snapshots: Int
  let dataBytes, dataFreeBytes, metadataBytes, metadataFreeBytes: UInt64?
  let problem: String?
  /// What a person should know early; empty for an inactive pool.
  let warnings: [String]

  enum CodingKeys: String, CodingKey {
    case name, device, data, metadata, state, volumes, snapshots, problem, warnings
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
    warnings = report.room?.warnings ?? []
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
    Table.show([["POOL", "STATE", "DATA FREE", "METADATA FREE", "DISKS", "SNAPSHOTS"]] + rows)
    // A problem says which pool it is about, as a warning does.
    for view in views { for line in [view.problem].compactMap(\.self) + view.warnings { Terminal.say(line) } }
  }
}
