import Glibc
import Testing

@testable import EpochStore

/// A bundle in memory, written and read.
struct MemoryBundle {
  var bytes: [UInt8] = []

  static let header = BundleHeader(
    uuid: uuid, epoch: .init(number: 7, identity: 0x1122_3344_5566_7788), base: .init(number: 5, identity: 9))

  final class Target {
    var bytes: [UInt8] = []
    func write(_ part: UnsafeRawBufferPointer) { bytes += part }
  }

  final class Source {
    private let bytes: [UInt8]
    private var place = 0
    init(_ bytes: [UInt8]) { self.bytes = bytes }

    func read(_ buffer: UnsafeMutableRawBufferPointer) -> Int {
      let part = bytes[place..<min(bytes.count, place + buffer.count)]
      buffer.copyBytes(from: part)
      place += part.count
      return part.count
    }
  }

  /// Every kind of chunk, packed and raw.
  static func sample() throws -> [UInt8] {
    let target = Target()
    let writer = try BundleWriter(header, write: target.write)
    try writer.add(description: Array("{\"some\":\"words\"}".utf8))
    try noise(3000).withUnsafeBytes { try writer.add(records: $0) }
    try [UInt8](repeating: 7, count: 500).withUnsafeBytes { try writer.add(records: $0) }
    for pfn in UInt64(3)..<400 {
      let page = pfn % 3 == 0 ? noise(4096) : [UInt8](repeating: pfn % 3 == 1 ? 0 : 65, count: 4096)
      try page.withUnsafeBytes { try writer.add(page: $0.baseAddress, pfn: pfn, type: UInt8(pfn % 16)) }
    }
    try writer.add(page: nil, pfn: 1 << 33, type: 0)
    try writer.endPages()
    try noise(65536).withUnsafeBytes { try writer.add(data: $0, disk: 0, at: 65536) }
    try writer.add(unmapped: 131072..<1 << 40, disk: 0)
    try [UInt8](repeating: 1, count: 1 << 20).withUnsafeBytes { try writer.add(data: $0, disk: 2, at: 0) }
    try writer.end()
    return target.bytes
  }

  static func noise(_ count: Int) -> [UInt8] {
    var random = Random(UInt64(count))
    return (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
  }

  /// Reads to the end; what came, in words.
  static func read(_ bytes: [UInt8]) throws -> [String] {
    let reader = try BundleReader(read: Source(bytes).read)
    var items: [String] = []
    while let item = try reader.next() { items.append(text(of: item)) }
    return items
  }

  static func text(of item: BundleItem) -> String {
    switch item {
    case .description(let bytes): return "description \(bytes.count)"
    case .records(let bytes): return "records \(bytes.count)"
    case .pages(let list):
      var words: [String] = []
      list.forEachPage { pfn, type, told, page in words.append("\(pfn).\(type).\(told).\(page?.first ?? 0)") }
      return "pages \(words.joined(separator: " "))"
    case .data(let disk, let offset, let bytes):
      return "data \(disk) \(offset) \(bytes.count) \(bytes[bytes.count - 1])"
    case .unmapped(let disk, let range): return "unmapped \(disk) \(range)"
    case .end(let totals): return "end \(totals.pages) \(totals.gonePages) \(totals.diskBytes) \(totals.unmappedBytes)"
    }
  }
}

@Suite("A bundle")
struct BundleTests {
  private static let whole = Result { try MemoryBundle.sample() }

  @Test("comes out as it went in, and is about as large as what is in it")
  func roundTrip() throws {
    let bytes = try Self.whole.get()
    let items = try MemoryBundle.read(bytes)
    #expect(items.first == "description 16" && items[1] == "records 3000" && items[2] == "records 500")
    #expect(items[3].hasPrefix("pages 3.3.content.") && items[3].contains(" 4.4.zero.0 5.5.content.65 "))
    #expect(items[4].hasSuffix("8589934592.0.gone.0"))
    #expect(items[5].hasPrefix("data 0 65536 65536 ") && items[6] == "unmapped 0 131072..<1099511627776")
    #expect(items[7] == "data 2 0 1048576 1")
    #expect(items[8] == "end 397 1 \(65536 + (1 << 20)) \((1 << 40) - 131072)")
    #expect(try BundleReader(read: MemoryBundle.Source(bytes).read).header == MemoryBundle.header)
    let content = 3000 + 133 * 4096 + 65536
    #expect(bytes.count < content * 105 / 100)
  }

  @Test("that is cut anywhere is told to be, with its place, and never taken for whole")
  func cut() throws {
    let bytes = try Self.whole.get()
    let reader = try BundleReader(read: MemoryBundle.Source(bytes).read)
    var borders = [UInt64(BundleFormat.headerBytes)]
    while try reader.next() != nil { borders.append(reader.offset) }
    var places = Array(0..<80)
    for border in borders.map(Int.init) {
      places += [border - 1, border, border + 1, border + 31, border + 32, border + 33]
    }
    for place in Set(places) where place < bytes.count {
      let expected: BundleError = place < 8 ? .notABundle : .cut(at: UInt64(place))
      #expect(throws: expected) { try MemoryBundle.read(Array(bytes[..<place])) }
    }
    #expect(throws: BundleError.damaged(at: UInt64(bytes.count), "something follows its end")) {
      try MemoryBundle.read(bytes + [0])
    }
  }

  @Test("of which any byte is another is refused", arguments: [UInt8(1), 0x80, 0xff])
  func flipped(mask: UInt8) throws {
    let bytes = try Self.whole.get()
    // Every byte of header, heads and small contents, and some of the large ones.
    var random = Random(UInt64(mask))
    let reader = try BundleReader(read: MemoryBundle.Source(bytes).read)
    var places = Set(0..<64)
    var start = reader.offset
    while try reader.next() != nil {
      places.formUnion(Int(start)..<min(Int(start) + 40, Int(reader.offset)))
      places.insert(Int.random(in: Int(start)..<Int(reader.offset), using: &random))
      places.insert(Int(reader.offset) - 1)
      start = reader.offset
    }
    for place in places {
      var broken = bytes
      broken[place] ^= mask
      #expect(throws: BundleError.self, "byte \(place)") { try MemoryBundle.read(broken) }
    }
  }

  @Test("whose chunks are left out, doubled or put elsewhere is refused")
  func shuffled() throws {
    let bytes = try Self.whole.get()
    let reader = try BundleReader(read: MemoryBundle.Source(bytes).read)
    var chunks: [ArraySlice<UInt8>] = []
    var start = Int(reader.offset)
    while try reader.next() != nil {
      chunks.append(bytes[start..<Int(reader.offset)])
      start = Int(reader.offset)
    }
    let head = Array(bytes[..<BundleFormat.headerBytes])
    for index in chunks.indices {
      var (missing, doubled) = (chunks, chunks)
      missing.remove(at: index)
      doubled.insert(chunks[index], at: index)
      for changed in [missing, doubled] {
        #expect(throws: BundleError.self) { try MemoryBundle.read(head + changed.joined()) }
      }
    }
    // A sound chunk of another bundle, in the place of ours.
    let other = MemoryBundle.Target()
    let writer = try BundleWriter(MemoryBundle.header, write: other.write)
    try writer.add(description: Array("{\"other\":\"words\"}".utf8))
    let spliced = head + other.bytes[64...] + chunks.dropFirst().joined()
    #expect(throws: BundleError.self) { try MemoryBundle.read(spliced) }
  }

  @Test("with lengths that lie takes no memory for them")
  func hostile() throws {
    func forged(_ change: (UnsafeMutableRawPointer) -> Void) -> [UInt8] {
      var head = [UInt8](repeating: 0, count: BundleFormat.headBytes)
      head.withUnsafeMutableBytes { buffer in
        let start = buffer.baseAddress!
        BundleHead(kind: .description).encode(to: start)
        change(start)
        start.setLittle(24, BundleChecksum().of(UnsafeRawPointer(start), UnsafeRawBufferPointer(start: nil, count: 0)))
      }
      return MemoryBundle.header.encoded + head
    }
    // Lengths above the limit, packed longer than plain, plain of two lengths, unknown kinds.
    let changes: [(UnsafeMutableRawPointer) -> Void] = [
      {
        ($0 + 4).storeBytes(of: .max, as: UInt32.self)
        ($0 + 8).storeBytes(of: .max, as: UInt32.self)
      },
      {
        $0.setLittle(1, UInt8(1))
        $0.setLittle(4, UInt32(5))
        $0.setLittle(8, UInt32(5))
      },
      { $0.setLittle(8, UInt32(4096)) },
      { $0.setLittle(0, UInt8(9)) }, { $0.setLittle(1, UInt8(2)) },
    ]
    for change in changes {
      #expect(throws: BundleError.damaged(at: 64, "it has no chunk there")) { try MemoryBundle.read(forged(change)) }
    }
    #expect(throws: BundleError.cut(at: 96)) {
      try MemoryBundle.read(
        forged {
          $0.setLittle(4, UInt32(2 << 20))
          $0.setLittle(8, UInt32(2 << 20))
        })
    }
  }

  @Test("is gone on with behind its last sound chunk, and comes to the same", arguments: 0..<9)
  func resumed(chunk: Int) throws {
    let bytes = try Self.whole.get()
    let counting = try BundleReader(read: MemoryBundle.Source(bytes).read)
    for _ in 0..<chunk { _ = try counting.next() }
    let kept = Int(counting.offset)
    let reader = try BundleReader(read: MemoryBundle.Source(Array(bytes[..<(kept + 10)])).read)
    #expect(throws: BundleError.self) { while try reader.next() != nil {} }
    #expect(Int(reader.offset) == kept && reader.place == counting.place)
    let target = MemoryBundle.Target()
    let writer = BundleWriter(continuing: reader, write: target.write)
    // Nothing more: an end right there closes a whole, if smaller, bundle.
    if chunk == 0 { try writer.add(description: []) }
    try writer.end()
    let items = try MemoryBundle.read(Array(bytes[..<kept]) + target.bytes)
    #expect(items.count == max(chunk, 1) + 1)
  }

  @Test("holds what one epoch has and another has not, in content, type and place", arguments: [UInt64(1), 2, 3])
  func pages(seed: UInt64) throws {
    let temporary = try TemporaryStore()
    var random = Random(seed)
    let first = random.image(pages: 600)
    var second = first
    for pfn in first.pages.keys.sorted() {
      switch Int.random(in: 0..<10, using: &random) {
      case 0: second.pages[pfn] = nil
      case 1: second.pages[pfn] = random.page()
      case 2: second.pages[pfn]?.type ^= 1
      case 3: second.pages[pfn + 1] = random.page()
      default: break
      }
    }
    try temporary.publish(first, epoch: 1)
    // All of it anew, so that nothing stands in the same place.
    try temporary.publish(second, epoch: 2)
    let (older, younger) = (try temporary.folder.open(epoch: 1), try temporary.folder.open(epoch: 2))
    var carried = first
    var last: UInt64?
    try younger.forEachCarriedPage(since: older, from: 0, threads: 1) { pfn, type, page in
      #expect(last.map { $0 < pfn } ?? true)
      last = pfn
      let content = page.map { Array(UnsafeRawBufferPointer(start: $0, count: 4096)) }
      let new = content.map { Image.Page(type: type, bytes: $0) }
      #expect(new != first.pages[pfn], "page \(pfn) did not change")
      carried.pages[pfn] = new
    }
    #expect(carried == second)
    // From any page on it is the rest.
    let middle = first.pages.keys.sorted()[300]
    var rest: [UInt64] = []
    try younger.forEachCarriedPage(since: nil, from: middle, threads: 2) { pfn, _, _ in rest.append(pfn) }
    #expect(rest == second.pages.keys.filter { $0 >= middle }.sorted())
  }
}
