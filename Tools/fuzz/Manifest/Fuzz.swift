import Support

@testable import EpochStore

/// An epoch's manifest. The checksum at the end is put right, or it would be the only thing that is ever tested.
@_cdecl("LLVMFuzzerInitialize")
public func begin(_: UnsafeMutableRawPointer?, _: UnsafeMutableRawPointer?) -> CInt {
  Fuzz.offer {
    let folder = FuzzStore.make()
    FuzzStore.publishFirst(folder)
    FuzzStore.publishSecond(folder, alone: false)
    var statistics = TakeStatistics()
    statistics.rounds = [.init(name: "1", pages: 10, copied: 9, ms: 1.25)]
    guard let full = try? ManifestFile.encode(FuzzStore.manifest(3, statistics: statistics)) else { return [] }
    let files = ["00000001.json", "00000002.json"].map { FuzzStore.read($0, of: folder) } + [full]
    return files.map { Array($0.dropLast(38)) }
  }
  return 0
}

@_cdecl("LLVMFuzzerTestOneInput")
public func run(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  let bytes = Fuzz.bytes(data, count)
  _ = try? ManifestFile.decode(bytes, path: "raw")
  let sealed = ManifestFile.seal(bytes)
  let summary = sealed.withUnsafeBytes { ManifestScanner.summary(of: $0) }
  guard let manifest = try? ManifestFile.decode(sealed, path: "sealed") else { return 0 }
  // The quick way sees what the slow way sees, or leaves it alone.
  Fuzz.expect(summary == nil || summary == EpochSummary(manifest), "\(String(describing: summary))")
  Fuzz.expect(EpochTime(manifest.time.description) == manifest.time, "a time that is written as it is read")
  guard let again = try? ManifestFile.encode(manifest) else { fatalError("what was read cannot be written") }
  Fuzz.expect((try? ManifestFile.decode(again, path: "again")) == manifest, "written and read again it is another")
  return 0
}
