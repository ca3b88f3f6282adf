public import EpochStore
import FoundationEssentials

/// A store of one guest, as its own writer makes it.
public enum FuzzStore {
  public static let uuid = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"

  public static func make() -> GuestFolder {
    do { return try EpochStore(path: Fuzz.scratchFolder()).folder(uuid: uuid, create: true) } catch {
      fatalError("\(error)")
    }
  }

  public static func manifest(_ epoch: Int, statistics: TakeStatistics? = nil) -> EpochManifest {
    EpochManifest(
      guest: "web", uuid: uuid, epoch: epoch, time: EpochTime(milliseconds: 1_785_500_000_123), kind: .pvh, vcpus: 2,
      memoryBytes: 1 << 30, pauseMs: 12.5, stopMs: 3.25,
      disks: [
        .init(vdev: "xvda", pool: "main", thinID: 7, sizeBytes: 1 << 33, device: "/dev/mapper/web", readOnly: false)
      ], phases: ["copy": 1.5], suspendPath: "xenstore", xenVersion: "4.17.5", statistics: statistics)
  }

  /// Epoch 1: a few pages, raw, packed and zero, and records.
  @discardableResult
  public static func publishFirst(_ folder: GuestFolder) -> EpochManifest {
    publish(folder, 1, base: nil, [3: .noise, 4: .zero, 5: .text, 20: .noise, 32: .text, 33: .text, 70: .zero])
  }

  /// Epoch 2: on epoch 1, or all by itself.
  @discardableResult
  public static func publishSecond(_ folder: GuestFolder, alone: Bool) -> EpochManifest {
    let base = try? folder.base()
    return publish(folder, 2, base: alone ? nil : base, [4: .text, 20: .zero, 21: .noise, 33: .noise, 800: .text])
  }

  private enum Content { case noise, text, zero }

  private static func publish(
    _ folder: GuestFolder, _ epoch: Int, base: EpochBase?, _ pages: [UInt64: Content]
  ) -> EpochManifest {
    do {
      let writer = try folder.create(epoch: epoch, reserving: 0, base: base)
      try writer.append(record: 1, [1, 2, 3])
      try writer.append(record: 2, [])
      try append(pages, to: writer)
      // A frame that loses all its pages to a younger one.
      try append([3: .text], to: writer)
      return try writer.publish(manifest(epoch))
    } catch { fatalError("\(error)") }
  }

  private static func append(_ pages: [UInt64: Content], to writer: EpochWriter) throws {
    let pfns = pages.keys.sorted()
    let types = pfns.map { UInt8($0 % 5) }
    var bytes: [UInt8] = []
    for pfn in pfns {
      var state = pfn
      for index in 0..<4096 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        switch pages[pfn] {
        case .noise: bytes.append(UInt8(truncatingIfNeeded: state >> 33))
        case .text: bytes.append(UInt8(ascii: "a") + UInt8(index / 9 % 13))
        default: bytes.append(0)
        }
      }
    }
    try pfns.withUnsafeBufferPointer { pfns in
      try types.withUnsafeBufferPointer { types in
        try bytes.withUnsafeBytes { bytes in
          _ = try writer.append(StagedPages(pfns: pfns, types: types, pages: bytes), threads: 1)
        }
      }
    }
  }

  /// The bytes of a file in the folder.
  public static func read(_ name: String, of folder: GuestFolder) -> [UInt8] {
    do { return Array(try Data(contentsOf: URL(filePath: folder.path + "/" + name))) } catch { fatalError("\(error)") }
  }

  /// Replaces a file in the folder.
  public static func write(_ bytes: [UInt8], as name: String, of folder: GuestFolder) {
    do { try Data(bytes).write(to: URL(filePath: folder.path + "/" + name)) } catch { fatalError("\(error)") }
  }
}
