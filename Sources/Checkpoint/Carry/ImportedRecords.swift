import EpochStore
import MigrationStream

/// The records of an imported epoch, checked: a guest can be made of them.
struct ImportedRecords {
  private(set) var config: XLConfig
  private let records: [StoredRecord]
  private let configuration: [UInt8]

  /// - Throws: ``CarryError/nonsense(file:_:)``.
  init(_ records: [StoredRecord], uuid: String, kind: EpochManifest.Kind, file: String) throws {
    func nonsense(_ what: String) -> CarryError { .nonsense(file: file, what) }
    guard let stored = records.first(where: { $0.type == GuestRecords.configuration }) else {
      throw nonsense("it has no configuration of a guest")
    }
    do { config = try XLConfig(json: stored.body) } catch { throw nonsense("\(error)") }
    guard config.uuid.lowercased() == uuid, config.type == (kind == .pv ? .pv : .pvh) else {
      throw nonsense("its configuration is another guest's")
    }
    self.records = records.filter { $0.type != GuestRecords.configuration }
    for record in self.records {
      do { _ = try RecordBody(Record(type: RecordType(rawValue: record.type), body: record.body)) } catch {
        throw nonsense("record \(RecordType(rawValue: record.type)): \(error)")
      }
    }
    configuration = stored.body
  }

  /// Has the guest find its disks where they are now.
  mutating func place(disks: [DiskEpoch]) throws {
    let moved = disks.filter { disk in
      disk.thinID != nil && config.disks.contains { $0.vdev == disk.vdev && $0.path != disk.device }
    }
    try config.setDisks(Dictionary(moved.map { ($0.vdev, $0.device) }, uniquingKeysWith: { first, _ in first }))
  }

  mutating func rename(to name: String) { config.rename(to: name) }

  func write(to writer: EpochWriter) throws {
    // Byte for byte what came, where nothing was changed.
    let isSame = (try? XLConfig(json: configuration)) == config
    try writer.append(record: GuestRecords.configuration, isSame ? configuration : config.encoded())
    for record in records { try writer.append(record: record.type, record.body) }
  }
}
