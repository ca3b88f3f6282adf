import EpochStore
import Glibc

/// A guest that is nothing but memory, and writes to it between epochs.
struct BenchGuest: ~Copyable {
  private let image: MemoryImage
  private let scattered: Bool
  private var maker = PageMaker()
  private var isTouched: [Bool]
  /// Copies of the pages that changed, as a take stages them.
  private let staging: UnsafeMutableRawBufferPointer
  private let pfns: UnsafeMutableBufferPointer<UInt64>
  private let types: UnsafeMutableBufferPointer<UInt8>

  init(bytes: Int, scattered: Bool) {
    image = MemoryImage(bytes: bytes)
    self.scattered = scattered
    isTouched = Array(repeating: false, count: image.count)
    staging = .allocate(byteCount: bytes, alignment: 4096)
    pfns = .allocate(capacity: image.count)
    types = .allocate(capacity: image.count)
    types.initialize(repeating: 0)
  }

  deinit {
    staging.deallocate()
    pfns.deallocate()
    types.deallocate()
  }

  var bytes: Int { image.bytes.count }

  mutating func touchEverything() {
    for page in isTouched.indices { isTouched[page] = true }
  }

  /// Gives `pages` pages a new content.
  mutating func work(pages: Int) {
    var left = pages
    while left > 0 {
      let run = min(left, scattered ? 1 : 1 + Int(maker.next() % 64))
      let isHot = !scattered && maker.next() % 4 != 0
      let first = Int(maker.next() % UInt64(isHot ? image.count / 10 : image.count))
      let kind = maker.kind()
      for page in first..<min(first + run, image.count) where !isTouched[page] {
        maker.fill(image.bytes.baseAddress! + page * EpochFormat.pageSize, kind)
        isTouched[page] = true
        left -= 1
      }
    }
  }

  /// Copies of the pages touched since the last call, valid until the next.
  mutating func stage() -> StagedPages {
    var count = 0
    for page in isTouched.indices where isTouched[page] {
      isTouched[page] = false
      pfns[count] = image.pfns[page]
      (staging.baseAddress! + count * EpochFormat.pageSize).copyMemory(
        from: image.bytes.baseAddress! + page * EpochFormat.pageSize, byteCount: EpochFormat.pageSize)
      count += 1
    }
    return StagedPages(
      pfns: UnsafeBufferPointer(rebasing: pfns[..<count]), types: UnsafeBufferPointer(rebasing: types[..<count]),
      pages: UnsafeRawBufferPointer(rebasing: staging[..<(count * EpochFormat.pageSize)]))
  }
}
