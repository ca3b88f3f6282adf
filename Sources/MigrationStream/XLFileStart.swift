/// The first bytes of a file of `xl save`, to tell it from other files before it is read.
public struct XLFileStart: Sendable {
  /// Bytes that are needed.
  public static let length = XLHeader.length
  /// It was saved by a Xen before 4.6, in a form that Xen's own converter can read.
  public let isLegacy: Bool
  /// Its configuration is JSON; older ones have xl's own words there.
  public let hasJSON: Bool
  /// Of the configuration, which follows.
  public let configLength: Int

  /// nil for any other file.
  public init?(_ bytes: [UInt8]) {
    guard bytes.count >= Self.length, bytes.starts(with: XLHeader.magic),
      bytes.little(UInt32.self, at: 32) == XLHeader.byteOrder
    else { return nil }
    let flags = bytes.little(UInt32.self, at: 36)
    (isLegacy, hasJSON) = (flags & 2 == 0, flags & 1 != 0)
    configLength = Int(min(bytes.little(UInt32.self, at: 48), UInt32(XLHeader.maximumConfigLength)))
  }

  /// The same bytes before a stream of today's form.
  ///
  /// - Parameter start: those of a legacy file.
  public static func modern(_ start: [UInt8]) -> [UInt8] {
    var start = start
    start[36] |= 2
    return start
  }
}
