import Support

@testable import EpochStore

nonisolated(unsafe) private var folder: GuestFolder!
nonisolated(unsafe) private var header: [UInt8] = []

/// The cache of page hashes of an epoch. Its names, sizes and checksums are put right where the first byte says so.
@_cdecl("LLVMFuzzerInitialize")
public func begin(_: UnsafeMutableRawPointer?, _: UnsafeMutableRawPointer?) -> CInt {
  folder = FuzzStore.make()
  FuzzStore.publishFirst(folder)
  let cache = FuzzStore.read("hashes", of: folder)
  header = Array(cache.prefix(40))
  Fuzz.offer {
    [[0xff] + cache, [0xff] + cache.prefix(64), [0xff] + cache + cache.dropFirst(64)]
  }
  return 0
}

@_cdecl("LLVMFuzzerTestOneInput")
public func run(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  guard count > 0 else { return 0 }
  FuzzStore.write(repaired(Fuzz.bytes(data + 1, count - 1), data[0]), as: "hashes", of: folder)
  guard let hashes = HashCache(folder: folder, epoch: 1, fileHash: header.little(32, UInt64.self)).read() else {
    return 0
  }
  var pages = 0
  hashes.forEachPFN { pfn in
    Fuzz.expect(pfn < EpochFormat.pfnLimit && hashes[pfn] != 0, "a page that is held")
    pages += 1
  }
  Fuzz.expect(
    pages == hashes.count && PageHashes(sharing: hashes).count == pages, "\(pages) pages, not \(hashes.count)")
  // Whatever stands there, the base has the epoch's pages.
  guard let base = try? folder.base() else { fatalError("a cache kept the base away") }
  var pfns: [UInt64] = []
  base.forEachPFN { pfns.append($0) }
  Fuzz.expect(pfns == [3, 4, 5, 20, 32, 33, 70] && base.pageCount == pfns.count, "\(pfns)")
  return 0
}

private func repaired(_ given: [UInt8], _ repairs: UInt8) -> [UInt8] {
  var bytes = given
  guard bytes.count >= 64 else { return bytes }
  if repairs & 1 != 0 { bytes.replaceSubrange(0..<40, with: header) }
  let chunks = (bytes.count - 64) / PageHashes.entryBytes
  if repairs & 2 != 0 {
    bytes.removeLast((bytes.count - 64) % PageHashes.entryBytes)
    bytes.setLittle(48, UInt64(chunks))
  }
  if repairs & 4 != 0 {
    var run = Array(bytes.prefix(56))
    for chunk in 0..<chunks {
      let start = 64 + chunk * PageHashes.entryBytes
      let hash = ManifestFile.hash(Array(bytes[start..<(start + PageHashes.entryBytes)]))
      withUnsafeBytes(of: hash.littleEndian) { run += $0 }
    }
    bytes.setLittle(56, ManifestFile.hash(run))
  }
  return bytes
}
