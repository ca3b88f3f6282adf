/// The xl file header (Xen's `tools/xl/xl.h`): native byte order, which on x86 is little-endian.
enum XLHeader {
  static let magic: [UInt8] = Array("Xen saved domain, xl format\n \0 \r".utf8)
  static let byteOrder: UInt32 = 0x0102_0304
  /// Bit 0: the config is JSON; bit 1: stream v2. xl refuses every other bit.
  static let flags: UInt32 = 3
  /// Magic, byte order, two words of flags, length of the optional data, length of the config.
  static let length = 52
  /// Far above any config libxl prints; keeps a damaged length from being believed.
  static let maximumConfigLength = 16 << 20
}

/// The libxl stream (v2) around the libxc stream. Its header is big-endian, its records little-endian.
enum LibxlLayer {
  static let ident: UInt64 = 0x4C69_6278_6C46_6D74
  static let version: UInt32 = 2
  /// Bit 1: converted from a legacy stream; says nothing about the bytes. Bit 0, big-endian, is refused.
  static let legacyOption: UInt32 = 2
  static let headerLength = 16

  static let end: UInt32 = 0
  static let libxcContext: UInt32 = 1
  static let emulatorXenstoreData: UInt32 = 2
  static let emulatorContext: UInt32 = 3
  /// Upstream QEMU. The traditional device model left Xen's supported builds.
  static let qemuUpstream: UInt32 = 2
}

/// The headers of the libxc stream (v3): the image header is big-endian, all the rest little-endian.
enum LibxcLayer {
  static let marker = UInt64.max
  static let ident: UInt32 = 0x5845_4E46
  static let version: UInt32 = 3
  static let imageHeaderLength = 24
  static let domainHeaderLength = 16
  static let pageShift: UInt16 = 12
}

/// State of an HVM guest's device model (QEMU). PV and PVH streams have none: libxl refuses it there.
public enum EmulatorRecord: Equatable, Sendable {
  /// Keys relative to the device model's xenstore path, with their values.
  case xenstoreData([XenstorePair])
  /// What QEMU saved, opaque.
  case context([UInt8])

  public struct XenstorePair: Equatable, Sendable {
    public var key: String
    public var value: String

    public init(key: String, value: String) {
      self.key = key
      self.value = value
    }
  }
}

extension EmulatorRecord {
  var type: UInt32 {
    switch self {
    case .xenstoreData: LibxlLayer.emulatorXenstoreData
    case .context: LibxlLayer.emulatorContext
    }
  }

  /// - Throws: `StreamFault.emulatorText` for a NUL inside a key or value, which would shift all pairs behind it.
  func encoded() throws(StreamFault) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.append(little: LibxlLayer.qemuUpstream)
    bytes.append(little: UInt32(0))
    switch self {
    case .xenstoreData(let pairs):
      for pair in pairs {
        guard !pair.key.utf8.contains(0), !pair.value.utf8.contains(0) else { throw .emulatorText }
        bytes += Array(pair.key.utf8) + [0] + Array(pair.value.utf8) + [0]
      }
    case .context(let blob): bytes += blob
    }
    return bytes
  }

  init(type: UInt32, body: [UInt8]) throws(StreamFault) {
    guard body.count >= 8 else { throw .bodyLength(type: type, length: body.count) }
    let (id, index) = (body.little(UInt32.self, at: 0), body.little(UInt32.self, at: 4))
    guard id == LibxlLayer.qemuUpstream else { throw .emulator(id) }
    guard index == 0 else { throw .reserved(UInt64(index)) }
    let rest = Array(body[8...])
    if type == LibxlLayer.emulatorContext {
      self = .context(rest)
      return
    }
    self = .xenstoreData(try Self.pairs(in: rest))
  }

  private static func pairs(in bytes: [UInt8]) throws(StreamFault) -> [XenstorePair] {
    if bytes.isEmpty { return [] }
    guard bytes.last == 0 else { throw .emulatorText }
    var texts: [String] = []
    for part in bytes.dropLast().split(separator: 0, omittingEmptySubsequences: false) {
      guard let text = String(validating: part, as: UTF8.self) else { throw .emulatorText }
      texts.append(text)
    }
    guard texts.count % 2 == 0 else { throw .emulatorText }
    return stride(from: 0, to: texts.count, by: 2).map { XenstorePair(key: texts[$0], value: texts[$0 + 1]) }
  }
}
