/// The names of our devices: `ckpt-…`, and uuids `CKPT-…` by which we know that a device is ours.
public enum DeviceName {
  public static let namePrefix = "ckpt-"
  public static let uuidPrefix = "CKPT-"

  /// A checked part of a name: `[a-z0-9-]`, so that neither libdevmapper nor udev has to escape it, beginning with
  /// a letter or a digit.
  ///
  /// - Throws: `DeviceMapperError.badName`.
  public static func check(_ part: String) throws {
    guard let first = part.utf8.first, isLetterOrDigit(first) else {
      throw DeviceMapperError.badName(part, why: "it must begin with a-z or 0-9")
    }
    guard part.utf8.allSatisfy({ isLetterOrDigit($0) || $0 == UInt8(ascii: "-") }) else {
      throw DeviceMapperError.badName(part, why: "only a-z, 0-9 and - are allowed")
    }
    // The kernel's DM_NAME_LEN is 128 with the terminator; the prefix and a suffix must still fit.
    guard part.utf8.count <= 96 else {
      throw DeviceMapperError.badName(part, why: "longer than 96 characters")
    }
  }

  private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
      || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
  }
}
