import EpochStore
import MigrationStream

/// An epoch's records as one run of bytes: type, length and body of each.
enum CarriedRecords {
  static let headBytes = 8

  static func encode(_ records: [StoredRecord]) -> [UInt8] {
    var bytes: [UInt8] = []
    for record in records {
      for number in [record.type, UInt32(record.body.count)] {
        withUnsafeBytes(of: number.littleEndian) { bytes.append(contentsOf: $0) }
      }
      bytes += record.body
    }
    return bytes
  }

  /// nil for bytes that are no such run.
  static func decode(_ bytes: [UInt8]) -> [StoredRecord]? {
    var records: [StoredRecord] = []
    var rest = bytes[...]
    while !rest.isEmpty {
      guard rest.count >= headBytes, records.count < EpochFormat.recordCountLimit else { return nil }
      let (type, length) = (number(rest.prefix(4)), Int(number(rest.dropFirst(4).prefix(4))))
      rest = rest.dropFirst(headBytes)
      guard length <= EpochFormat.recordLimit, length <= rest.count else { return nil }
      records.append(StoredRecord(type: type, body: Array(rest.prefix(length))))
      rest = rest.dropFirst(length)
    }
    return records
  }

  private static func number(_ bytes: ArraySlice<UInt8>) -> UInt32 {
    bytes.reversed().reduce(0) { $0 << 8 | UInt32($1) }
  }
}
