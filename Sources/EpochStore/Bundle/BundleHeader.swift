import CXXHash

/// The first 64 bytes of a bundle: which epoch it is, and on which it builds.
public struct BundleHeader: Equatable, Sendable {
  /// An epoch, known by number and content wherever it was carried.
  public struct Epoch: Equatable, Sendable {
    public var number: Int
    /// See ``EpochManifest/identity``.
    public var identity: UInt64

    public init(number: Int, identity: UInt64) { (self.number, self.identity) = (number, identity) }
  }

  public var uuid: String
  public var epoch: Epoch
  /// The epoch that must be there already; nil when the bundle has everything.
  public var base: Epoch?

  public init(uuid: String, epoch: Epoch, base: Epoch? = nil) {
    (self.uuid, self.epoch, self.base) = (uuid, epoch, base)
  }

  /// Whether a file that holds no more than these bytes may have been going to be a bundle with this header.
  public func begins(with bytes: some Sequence<UInt8>) -> Bool { encoded.starts(with: bytes) }

  var encoded: [UInt8] {
    var bytes = [UInt8](repeating: 0, count: BundleFormat.headerBytes)
    bytes.withUnsafeMutableBytes { buffer in
      let start = buffer.baseAddress.unsafelyUnwrapped
      buffer.copyBytes(from: BundleFormat.magic)
      start.setLittle(8, UInt32(BundleFormat.version))
      start.setLittle(12, UInt32(epoch.number))
      UnsafeMutableRawBufferPointer(rebasing: buffer[16..<32]).copyBytes(from: EpochStore.bytes(ofUUID: uuid))
      start.setLittle(32, epoch.identity)
      start.setLittle(40, UInt32(base?.number ?? 0))
      start.setLittle(48, base?.identity ?? 0)
      start.setLittle(56, XXH3_64bits(start, 56))
    }
    return bytes
  }

  /// - Parameter bytes: 64 of them.
  init(decoding bytes: [UInt8]) throws(BundleError) {
    func field<T: FixedWidthInteger & BitwiseCopyable>(_ offset: Int, _ type: T.Type) -> T {
      bytes.withUnsafeBytes { $0.baseAddress.unsafelyUnwrapped.little(offset, type) }
    }
    guard BundleFormat.isBundle(bytes) else { throw .notABundle }
    let version = field(8, UInt32.self)
    guard version == BundleFormat.version else { throw .otherVersion(Int(version)) }
    let hash = bytes.withUnsafeBytes { XXH3_64bits($0.baseAddress, 56) }
    guard hash == field(56, UInt64.self) else { throw .damaged(at: 0, "its header does not match its checksum") }
    epoch = Epoch(number: Int(field(12, UInt32.self)), identity: field(32, UInt64.self))
    let number = Int(field(40, UInt32.self))
    base = number == 0 ? nil : Epoch(number: number, identity: field(48, UInt64.self))
    uuid = Self.text(ofUUID: bytes[16..<32])
    guard epoch.number > 0, number < epoch.number, encoded == bytes else {
      throw .damaged(at: 0, "its header makes no sense")
    }
  }

  private static func text(ofUUID bytes: ArraySlice<UInt8>) -> String {
    let digits = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
    return [0..<4, 4..<6, 6..<8, 8..<10, 10..<16].map { digits[$0].joined() }.joined(separator: "-")
  }
}
