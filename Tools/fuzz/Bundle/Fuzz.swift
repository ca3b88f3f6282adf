import Support

@testable import EpochStore

nonisolated(unsafe) private var header: [UInt8] = []

/// A bundle's chunks, their checksums and numbers put right where the first byte says so, so that what lies behind them is reached.
@_cdecl("LLVMFuzzerInitialize")
public func begin(_: UnsafeMutableRawPointer?, _: UnsafeMutableRawPointer?) -> CInt {
  let known = BundleHeader(
    uuid: FuzzStore.uuid, epoch: .init(number: 2, identity: 3), base: .init(number: 1, identity: 4))
  header = known.encoded
  Fuzz.offer {
    let bundle = sample(known)
    return [[0] + bundle, [1] + bundle.dropFirst(header.count)]
  }
  return 0
}

private func sample(_ header: BundleHeader) -> [UInt8] {
  var bytes: [UInt8] = []
  do {
    let writer = try BundleWriter(header) { bytes += $0 }
    let description = BundleDescription(manifest: FuzzStore.manifest(2), marks: .unmarked, disks: [.changes])
    try writer.add(description: description.encoded())
    try [UInt8](repeating: 3, count: 40).withUnsafeBytes { try writer.add(records: $0) }
    try [UInt8](repeating: 5, count: 4096).withUnsafeBytes { try writer.add(page: $0.baseAddress, pfn: 7, type: 1) }
    try writer.add(page: nil, pfn: 9, type: 0)
    try writer.endPages()
    try [UInt8](repeating: 8, count: 1024).withUnsafeBytes { try writer.add(data: $0, disk: 0, at: 512) }
    try writer.add(unmapped: 4096..<8192, disk: 0)
    try writer.end()
  } catch { fatalError("\(error)") }
  return bytes
}

@_cdecl("LLVMFuzzerTestOneInput")
public func run(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  guard count > 0 else { return 0 }
  let given = Fuzz.bytes(data + 1, count - 1)
  read(data[0] & 1 == 0 ? given : header + sealed(given))
  return 0
}

/// The chunks with right numbers and checksums, as far as their lengths reach.
private func sealed(_ given: [UInt8]) -> [UInt8] {
  var (bytes, start, number) = (given, 0, UInt32(0))
  while bytes.count - start >= BundleFormat.headBytes {
    bytes.setLittle(start + 12, number)
    let stored = Int(bytes.little(start + 4, UInt32.self))
    guard stored <= bytes.count - start - BundleFormat.headBytes else { break }
    let sum = bytes.withUnsafeBytes { buffer in
      let head = buffer.baseAddress! + start
      return BundleChecksum().of(head, UnsafeRawBufferPointer(start: head + BundleFormat.headBytes, count: stored))
    }
    bytes.setLittle(start + BundleHead.hashedBytes, sum)
    start += BundleFormat.headBytes + stored
    number += 1
  }
  return bytes
}

private func read(_ bytes: [UInt8]) {
  var place = 0
  let reader = try? BundleReader { buffer in
    let part = bytes[place..<min(bytes.count, place + buffer.count)]
    buffer.copyBytes(from: part)
    place += part.count
    return part.count
  }
  guard let reader else { return }
  var (pfn, pages): (UInt64?, UInt64) = (nil, 0)
  while let item = try? reader.next() {
    switch item {
    case .description(let text): _ = BundleDescription(decoding: text, of: reader.header)
    case .pages(let list):
      list.forEachPage { next, type, told, page in
        Fuzz.expect(pfn.map { $0 < next } ?? true, "pages out of order")
        Fuzz.expect(type < 16 && (told == .content) == (page?.count == EpochFormat.pageSize), "a page of another size")
        pfn = next
        pages += 1
      }
    case .records, .data, .unmapped: break
    case .end(let totals): Fuzz.expect(totals.pages + totals.gonePages == pages, "pages are counted wrongly")
    }
  }
  Fuzz.expect(reader.offset <= UInt64(bytes.count), "it believes more than there is")
}
