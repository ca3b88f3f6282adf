import Glibc
import Testing

@testable import EpochStore

let uuid = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"

/// A store in a folder of its own that goes away with the value.
final class TemporaryStore {
  let root: String
  let store: EpochStore
  let folder: GuestFolder

  init() throws {
    var template = Array("/tmp/ckpt-store-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw StoreError.invalid("mkdtemp: errno \(errno)") }
    root = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    store = try EpochStore(path: root + "/store")
    folder = try store.folder(uuid: uuid, create: true)
  }

  deinit {
    for guest in (try? StoreName.list(store.path)) ?? [] {
      let path = store.path + "/" + guest
      for name in (try? StoreName.list(path)) ?? [] { unlink(path + "/" + name) }
      if rmdir(path) != 0 { unlink(path) }
    }
    unlink(store.path + "/reserve")
    rmdir(store.path)
    rmdir(root)
  }

  func manifest(_ epoch: Int, guest: String = "web", at time: Int64 = 1_785_500_000_123) -> EpochManifest {
    EpochManifest(
      guest: guest, uuid: uuid, epoch: epoch, time: EpochTime(milliseconds: time), kind: .pvh, vcpus: 2,
      memoryBytes: 1 << 30, pauseMs: 12.5, stopMs: 3.25,
      disks: [
        .init(
          vdev: "xvda", pool: "vg-pool", thinID: 7, sizeBytes: 1 << 33, device: "/dev/mapper/web",
          readOnly: false)
      ], phases: ["copy": 1.5, "freeze": 0.25], suspendPath: "event-channel", xenVersion: "4.17.5")
  }

  @discardableResult
  func publish(
    _ image: Image, epoch: Int, records: [StoredRecord] = [], guest: String = "web", base: EpochBase? = nil
  ) throws -> EpochManifest {
    let writer = try folder.create(epoch: epoch, reserving: 0, base: base)
    for record in records { try writer.append(record: record.type, record.body) }
    try image.append(to: writer)
    return try writer.publish(manifest(epoch, guest: guest))
  }

  func path(_ name: String) -> String { folder.path + "/" + name }
}

/// Memory as a test sees it: content and type per pfn.
struct Image: Equatable {
  struct Page: Equatable {
    var type: UInt8
    var bytes: [UInt8]
  }
  var pages: [UInt64: Page] = [:]

  @discardableResult
  func append(to writer: EpochWriter, threads: Int = 2) throws -> EpochWriter.Appended {
    let pfns = pages.keys.sorted()
    let types = pfns.map { pages[$0]!.type }
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: pfns.count * 4096, alignment: 4096)
    defer { bytes.deallocate() }
    for (index, pfn) in pfns.enumerated() {
      UnsafeMutableRawBufferPointer(rebasing: bytes[(index * 4096)..<((index + 1) * 4096)]).copyBytes(
        from: pages[pfn]!.bytes)
    }
    return try pfns.withUnsafeBufferPointer { pfns in
      try types.withUnsafeBufferPointer { types in
        try writer.append(
          StagedPages(pfns: pfns, types: types, pages: UnsafeRawBufferPointer(bytes)), threads: threads)
      }
    }
  }

  /// What a reader gives out; fails the test when pfns do not ascend or a batch is too large.
  static func read(_ reader: EpochReader, pagesPerBatch: Int = 64, threads: Int = 1) throws -> Image {
    var image = Image()
    var last: UInt64?
    try reader.forEachBatch(pagesPerBatch: pagesPerBatch, threads: threads) { batch in
      #expect(batch.pfns.count <= pagesPerBatch && batch.pfns.count > 0)
      for index in batch.pfns.indices {
        #expect(last.map { $0 < batch.pfns[index] } ?? true)
        last = batch.pfns[index]
        image.pages[batch.pfns[index]] = Page(
          type: batch.types[index], bytes: Array(batch.bytes[(index * 4096)..<((index + 1) * 4096)]))
      }
    }
    return image
  }

  var zeroCount: Int { pages.values.count { page in page.bytes.allSatisfy { $0 == 0 } } }
}

/// splitmix64: the same test data in every run.
struct Random: RandomNumberGenerator {
  var state: UInt64
  init(_ seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }

  /// A page of zeros, of text, of noise, or of zeros but its last byte.
  mutating func page() -> Image.Page {
    let type = [0, 0, 0, 1, 2, 3, 4, 9, 10, 12, 15][Int.random(in: 0..<11, using: &self)] as UInt8
    var bytes = [UInt8](repeating: 0, count: 4096)
    switch Int.random(in: 0..<6, using: &self) {
    case 0, 1: break
    case 2, 3: for index in bytes.indices { bytes[index] = UInt8(ascii: "a") + UInt8(index / 7 % 11) }
    case 4:
      for word in 0..<512 {
        withUnsafeBytes(of: next()) { for (index, byte) in $0.enumerated() { bytes[word * 8 + index] = byte } }
      }
    default: bytes[4095] = 1
    }
    return Image.Page(type: type, bytes: bytes)
  }

  /// Runs of pages with holes of all sizes between them.
  mutating func image(pages: Int) -> Image {
    var image = Image()
    var pfn: UInt64 = UInt64.random(in: 0..<40, using: &self)
    while image.pages.count < pages {
      for _ in 0..<Int.random(in: 1...40, using: &self) {
        image.pages[pfn] = page()
        pfn += 1
      }
      pfn += [1, 3, 16, 100, 5000, 1 << 30][Int.random(in: 0..<6, using: &self)]
    }
    return image
  }
}

func mode(_ path: String) -> mode_t {
  var status = stat()
  return lstat(path, &status) == 0 ? status.st_mode & 0o7777 : 0
}

/// Changes a file behind the store's back.
struct Tamper {
  let path: String

  func read() throws -> [UInt8] {
    let file = try StoreFile.open(path, O_RDONLY)
    return try file.read(count: Int(try file.regularSize()), at: 0)
  }

  func write(_ bytes: [UInt8], at offset: Int = 0) throws {
    try StoreFile.open(path, O_WRONLY).write(bytes, at: UInt64(offset))
  }

  func cut(to size: Int) { truncate(path, off_t(size)) }
}
