import Support

@testable import EpochStore

nonisolated(unsafe) private var folder: GuestFolder!
nonisolated(unsafe) private var first: [UInt8] = []

/// The file of epoch 2, in a folder that has an epoch 1 with a file of its own. The first byte says which counts and checksums
/// are put right, so that what lies behind them is reached.
@_cdecl("LLVMFuzzerInitialize")
public func begin(_: UnsafeMutableRawPointer?, _: UnsafeMutableRawPointer?) -> CInt {
  folder = FuzzStore.make()
  FuzzStore.publishFirst(folder)
  first = FuzzStore.read("00000001.epoch", of: folder)
  Fuzz.offer {
    [true, false].flatMap { alone in
      let folder = FuzzStore.make()
      FuzzStore.publishFirst(folder)
      FuzzStore.publishSecond(folder, alone: alone)
      return [0xff, 0x7f].map { [$0] + FuzzStore.read("00000002.epoch", of: folder) }
    }
  }
  return 0
}

@_cdecl("LLVMFuzzerTestOneInput")
public func run(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  guard count > 0 else { return 0 }
  let forged = Forged(Fuzz.bytes(data + 1, count - 1), repairs: data[0], older: first)
  FuzzStore.write(forged.bytes, as: "00000002.epoch", of: folder)
  read(forged.manifest)
  if data[0] & 0x80 != 0 { build(on: forged.manifest) }
  return 0
}

/// Everything that reads an epoch.
private func read(_ manifest: EpochManifest) {
  guard let reader = try? EpochReader(folder: folder, manifest: manifest) else { return }
  _ = try? reader.records()
  var pages = 0
  let isRead =
    (try? reader.forEachBatch(pagesPerBatch: 16) { batch in
      pages += batch.pfns.count
      Fuzz.expect(batch.bytes.count == batch.pfns.count * EpochFormat.pageSize, "whole pages")
    }) != nil
  Fuzz.expect(!isRead || pages == reader.pageCount, "\(pages) pages of \(reader.pageCount)")
  let isSound = (try? reader.verify()) != nil
  Fuzz.expect(!isSound || isRead, "what passes verification can be read")
  var known = KnownFrames()
  var random: any RandomNumberGenerator = SystemRandomNumberGenerator()
  for method in [.quick, .subset(0.5), .full, .full] as [VerifyMethod] {
    let findings = try? reader.examine(
      method, threads: 1, known: &known, random: &random, progress: nil, shouldStop: { false })
    Fuzz.expect(!isSound || findings?.count == 0, "\(method.name) finds damage where there is none")
    if method == .full { Fuzz.expect(isSound || findings?.count != 0, "a full look misses damage") }
  }
}

/// The next epoch inherits this one's index: it is refused, or what comes of it is sound.
private func build(on manifest: EpochManifest) {
  defer { _ = try? folder.discardUnpublished() }
  do {
    FuzzStore.write(try ManifestFile.encode(manifest), as: "00000002.json", of: folder)
    defer { _ = try? StoreName.remove(folder.path + "/00000002.json") }
    guard let base = try folder.base(), base.epoch == 2 else { return }
    let writer = try folder.create(epoch: 3, reserving: 0, base: base)
    try writer.remove([5, 33])
    _ = try writer.publish(FuzzStore.manifest(3))
  } catch { return }
  let next = try? folder.open(epoch: 3)
  for name in ["00000003.json", "00000003.epoch", "hashes", "counter"] {
    _ = try? StoreName.remove(folder.path + "/" + name)
  }
  Fuzz.expect((try? next?.verify()) != nil, "an epoch on a base that was believed cannot be read")
}
