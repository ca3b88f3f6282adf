import CXXHash

/// The 32 bytes before a chunk's content.
struct BundleHead: Equatable {
  var kind: BundleKind
  var isPacked = false
  /// Which disk of the description; 0 for what is of none.
  var disk: UInt16 = 0
  /// Bytes of the content as it stands there, and unpacked.
  var stored: UInt32 = 0
  var bytes: UInt32 = 0
  /// Counts the chunks from 0.
  var number: UInt32 = 0
  /// Where it belongs: byte of the records, first pfn, byte of the disk.
  var position: UInt64 = 0

  /// What the checksum covers beside the content.
  static let hashedBytes = 24

  func encode(to target: UnsafeMutableRawPointer) {
    target.setLittle(0, kind.rawValue)
    target.setLittle(1, isPacked ? UInt8(1) : 0)
    target.setLittle(2, disk)
    target.setLittle(4, stored)
    target.setLittle(8, bytes)
    target.setLittle(12, number)
    target.setLittle(16, position)
  }

  init(kind: BundleKind, disk: UInt16 = 0, position: UInt64 = 0) {
    (self.kind, self.disk, self.position) = (kind, disk, position)
  }

  /// nil for what no writer makes; whatever passes has a content of at most ``BundleFormat/contentLimit``.
  init?(decoding source: UnsafeRawPointer) {
    guard let kind = BundleKind(rawValue: source.little(0, UInt8.self)) else { return nil }
    self.init(kind: kind, disk: source.little(2, UInt16.self), position: source.little(16, UInt64.self))
    let packing = source.little(1, UInt8.self)
    isPacked = packing == 1
    (stored, bytes) = (source.little(4, UInt32.self), source.little(8, UInt32.self))
    number = source.little(12, UInt32.self)
    guard packing <= 1, bytes <= BundleFormat.contentLimit, isPacked ? stored < bytes : stored == bytes else {
      return nil
    }
  }
}

/// The checksum of a chunk: XXH3 of its head's first 24 bytes and its content as it stands there.
final class BundleChecksum {
  private let state = XXH3_createState()

  deinit { XXH3_freeState(state) }

  func of(_ head: UnsafeRawPointer, _ content: UnsafeRawBufferPointer) -> UInt64 {
    XXH3_64bits_reset(state)
    XXH3_64bits_update(state, head, BundleHead.hashedBytes)
    XXH3_64bits_update(state, content.baseAddress, content.count)
    return XXH3_64bits_digest(state)
  }
}
