/// The numbers of a bundle, version 1. `Bundle.md` is the description; this is its Swift half.
public enum BundleFormat {
  public static let version = 1
  static let magic: [UInt8] = Array("CKPTBND1".utf8)
  public static let headerBytes = 64
  static let headBytes = 32
  static let trailerBytes = 48
  /// Most bytes of a chunk's content. A reader has room for so much, once, whatever a chunk says of itself.
  public static let contentLimit = 2 << 20
  /// Most bytes of a disk in one chunk, and most pages: what this writer makes of them.
  public static let dataBytes = 1 << 20
  static let pagesPerChunk = 256
  /// Everything of a disk comes in multiples of this.
  public static let sectorBytes: UInt64 = 512
  /// Disks end below this.
  static let diskLimit: UInt64 = 1 << 62
  /// Most records' bytes of an epoch, heads included.
  public static let recordsLimit: UInt64 = 256 << 20

  /// What the first bytes of a bundle are, to tell it from other files.
  public static func isBundle(_ start: [UInt8]) -> Bool { start.starts(with: magic) }
  /// Bytes that ``isBundle(_:)`` needs.
  public static let magicBytes = 8
}

/// What a chunk holds. Chunks come in this order; data and unmapped ranges of a disk by their place.
enum BundleKind: UInt8 {
  case description = 1
  case records = 2
  case pages = 3
  case data = 4
  case unmapped = 5
  case end = 255
}
