import DeviceMapper

/// The bytes of an open device.
protocol DiskContent: AnyObject {
  func read(_ buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws
  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws
  /// - Returns: false where the device takes no such word.
  func discard(_ range: Range<UInt64>) throws -> Bool
  func sync() throws
}

extension BlockVolume: DiskContent {}

/// Opens devices by their device-mapper names.
struct DiskAccess: Sendable {
  var open: @Sendable (_ device: String, _ writable: Bool) throws -> any DiskContent

  static let kernel = DiskAccess { try BlockVolume("/dev/mapper/\($0)", writable: $1) }
}
