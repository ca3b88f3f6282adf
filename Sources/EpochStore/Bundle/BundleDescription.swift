import FoundationEssentials

/// The first chunk of a bundle: what is told of the epoch, and how its disks come.
public struct BundleDescription: Sendable {
  /// How a disk comes.
  public enum Carried: String, Codable, Sendable {
    /// All of it; what no chunk has reads as zeros.
    case whole
    /// What differs from the base's.
    case changes
    /// It has no snapshot, so it does not come.
    case nothing
  }

  /// As the exporting store has it.
  public var manifest: EpochManifest
  public var marks: EpochMarks
  /// In the order of the manifest's disks.
  public var disks: [Carried]

  public init(manifest: EpochManifest, marks: EpochMarks, disks: [Carried]) {
    (self.manifest, self.marks, self.disks) = (manifest, marks, disks)
  }

  private struct Coded: Codable {
    var manifest: EpochManifest
    var pinned: Bool
    var tags: [String]
    var note: String?
    var disks: [Carried]
  }

  /// - Throws: `StoreError.invalid` for numbers that JSON cannot hold.
  public func encoded() throws(StoreError) -> [UInt8] {
    let coded = Coded(manifest: manifest, pinned: marks.pinned, tags: marks.tags, note: marks.note, disks: disks)
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    guard let data = try? encoder.encode(coded), data.count <= BundleFormat.contentLimit else {
      throw .invalid("the manifest of epoch \(manifest.epoch) cannot be put into a bundle")
    }
    return Array(data)
  }

  /// nil for what does not describe the epoch that the header names.
  public init?(decoding bytes: UnsafeRawBufferPointer, of header: BundleHeader) {
    guard let coded = try? JSONDecoder().decode(Coded.self, from: Data(bytes)),
      let marks = try? EpochMarks(pinned: coded.pinned, tags: coded.tags, note: coded.note)
    else { return nil }
    self.init(manifest: coded.manifest, marks: marks, disks: coded.disks)
    guard manifest.uuid == header.uuid, manifest.epoch == header.epoch.number,
      Self.pages ~= manifest.pages, Self.pages ~= manifest.zeroPages,
      manifest.disks.count == disks.count, disks.count <= Self.mostDisks,
      header.base != nil || !disks.contains(.changes),
      zip(manifest.disks, disks).allSatisfy({ $1 == .nothing || $0.sizeBytes < BundleFormat.diskLimit })
    else { return nil }
  }

  /// More than Xen can give a guest.
  private static let mostDisks = 4096
  private static let pages = 0...Int(EpochFormat.pfnLimit)
}
