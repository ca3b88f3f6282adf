import EpochStore
import Glibc

/// Memory-like data made in RAM, the same in every run.
///
/// Runs of 1 to 64 pages of one kind follow each other, as in a guest that has run for a while. By bytes about
/// 12 % zero pages; 38 % pointer-rich heap (8-byte words: pointers into few regions, small integers, zeros,
/// short strings); 35 % text-like (words drawn unevenly from a vocabulary of 4096, as in page cache of logs,
/// sources and tables); 15 % already compressed (noise).
struct MemoryImage: ~Copyable {
  let count: Int
  let bytes: UnsafeMutableRawBufferPointer
  let pfns: UnsafeMutableBufferPointer<UInt64>
  let types: UnsafeMutableBufferPointer<UInt8>

  init(bytes size: Int) {
    count = size / EpochFormat.pageSize
    bytes = .allocate(byteCount: count * EpochFormat.pageSize, alignment: 4096)
    pfns = .allocate(capacity: count)
    types = .allocate(capacity: count)
    // One hole in the frame numbers, off the border of a group, as every guest has.
    for index in 0..<count { pfns[index] = UInt64(index < 160 ? index : index + 100) }
    types.initialize(repeating: 0)
    var maker = PageMaker()
    var page = 0
    while page < count {
      let run = min(1 + Int(maker.next() % 64), count - page)
      let kind = maker.kind()
      for _ in 0..<run {
        maker.fill(bytes.baseAddress! + page * EpochFormat.pageSize, kind)
        page += 1
      }
    }
  }

  deinit {
    bytes.deallocate()
    pfns.deallocate()
    types.deallocate()
  }

  var staged: StagedPages {
    StagedPages(
      pfns: UnsafeBufferPointer(pfns), types: UnsafeBufferPointer(types), pages: UnsafeRawBufferPointer(bytes))
  }
}

/// Makes pages of memory-like content, the same in every run.
struct PageMaker {
  private var state: UInt64 = 0x636b_7074
  /// Words of 3 to 10 lower-case letters and a space, padded to 16 bytes; the last byte is the length.
  private var words: [UInt8] = []

  init() {
    for _ in 0..<4096 {
      let length = 3 + Int(next() % 8)
      var word = [UInt8](repeating: UInt8(ascii: " "), count: 16)
      for letter in 0..<length { word[letter] = UInt8(ascii: "a") + UInt8(min(next() % 26, next() % 26)) }
      word[15] = UInt8(length + 1)
      words += word
    }
  }

  /// splitmix64.
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }

  /// What a run of pages holds, in the shares of `MemoryImage`.
  mutating func kind() -> UInt64 { next() % 100 }

  mutating func fill(_ page: UnsafeMutableRawPointer, _ kind: UInt64) {
    switch kind {
    case 0..<12: memset(page, 0, EpochFormat.pageSize)
    case 12..<50: fillHeap(page)
    case 50..<85: fillText(page)
    default:
      for word in 0..<512 { page.storeBytes(of: next(), toByteOffset: word * 8, as: UInt64.self) }
    }
  }

  private mutating func fillHeap(_ page: UnsafeMutableRawPointer) {
    let region = 0x7f00_0000_0000 + (next() % 16) << 32
    for word in 0..<512 {
      let random = next()
      let value: UInt64
      switch random % 16 {
      case 0..<5: value = 0
      case 5..<9: value = random >> 8 & 0xff
      case 9..<14: value = region + (random >> 8 & 0xf_fff0)
      case 14: value = 0x6465_6c69_6620_0000 | random >> 48
      default: value = random
      }
      page.storeBytes(of: value, toByteOffset: word * 8, as: UInt64.self)
    }
  }

  private mutating func fillText(_ page: UnsafeMutableRawPointer) {
    var used = 0
    while used < EpochFormat.pageSize {
      let random = next()
      // The product of two draws favours the first words, as languages do.
      let word = Int((random & 0xfff) * (random >> 12 & 0xfff) >> 12)
      let length = min(Int(words[word * 16 + 15]), EpochFormat.pageSize - used)
      words.withUnsafeBytes { (page + used).copyMemory(from: $0.baseAddress! + word * 16, byteCount: length) }
      used += length
    }
  }
}
