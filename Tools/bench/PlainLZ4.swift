import CLZ4
import Dispatch
import EpochStore
import Glibc
import Synchronization

/// The limit: LZ4 at the store's acceleration over the store's frames, and nothing else: no zero test, no hash,
/// no header, no file. It compresses exactly the pages that the store compresses: zero pages, which the store
/// never gives to LZ4, are left out beforehand and outside the measurement, or the ratio would flatter the store.
struct PlainLZ4: ~Copyable {
  private let pages: UnsafeMutableRawBufferPointer
  /// Ranges of `pages`, one per frame.
  private let frames: [Range<Int>]

  init(_ image: borrowing MemoryImage) {
    pages = .allocate(byteCount: image.bytes.count, alignment: 4096)
    var frames: [Range<Int>] = []
    var used = 0
    var start = 0
    for index in 0..<image.count {
      let source = image.bytes.baseAddress! + index * EpochFormat.pageSize
      if source.load(as: UInt64.self) != 0 || memcmp(source, source + 8, EpochFormat.pageSize - 8) != 0 {
        (pages.baseAddress! + used).copyMemory(from: source, byteCount: EpochFormat.pageSize)
        used += EpochFormat.pageSize
      }
      let group = image.pfns[index] / UInt64(EpochFormat.framePages)
      if index + 1 == image.count || image.pfns[index + 1] / UInt64(EpochFormat.framePages) != group {
        if used > start { frames.append(start..<used) }
        start = used
      }
    }
    self.frames = frames
  }

  deinit { pages.deallocate() }

  var dataBytes: Int { frames.last?.upperBound ?? 0 }

  /// Compresses everything once; returns the compressed bytes.
  func run(threads: Int) -> Int {
    let next = Atomic(0)
    let total = Atomic(0)
    nonisolated(unsafe) let pages = pages
    let frames = frames
    DispatchQueue.concurrentPerform(iterations: threads) { _ in
      let room = LZ4_compressBound(Int32(EpochFormat.pageSize * EpochFormat.framePages))
      let output = UnsafeMutablePointer<CChar>.allocate(capacity: Int(room))
      let state = UnsafeMutableRawPointer.allocate(byteCount: Int(LZ4_sizeofState()), alignment: 64)
      defer {
        output.deallocate()
        state.deallocate()
      }
      var bytes = 0
      while true {
        let first = next.wrappingAdd(64, ordering: .relaxed).oldValue
        guard first < frames.count else { break }
        for frame in frames[first..<min(first + 64, frames.count)] {
          let source = (pages.baseAddress! + frame.lowerBound).assumingMemoryBound(to: CChar.self)
          bytes += Int(LZ4_compress_fast_extState(state, source, output, Int32(frame.count), room, 1))
        }
      }
      total.wrappingAdd(bytes, ordering: .relaxed)
    }
    return total.load(ordering: .relaxed)
  }

  /// Its frames, compressed, for the decoder.
  func compressed() -> CompressedFrames {
    var frames: [[CChar]] = []
    for frame in self.frames {
      var output = [CChar](repeating: 0, count: Int(LZ4_compressBound(Int32(frame.count))))
      let source = (pages.baseAddress! + frame.lowerBound).assumingMemoryBound(to: CChar.self)
      let count = LZ4_compress_default(source, &output, Int32(frame.count), Int32(output.count))
      frames.append(Array(output[..<Int(count)]))
    }
    return CompressedFrames(frames: frames)
  }
}

/// The decoder's limit: nothing but LZ4, into memory that stays in the cache.
struct CompressedFrames: Sendable {
  let frames: [[CChar]]

  func decode(threads: Int) {
    let next = Atomic(0)
    DispatchQueue.concurrentPerform(iterations: threads) { _ in
      let room = Int32(EpochFormat.pageSize * EpochFormat.framePages)
      let output = UnsafeMutablePointer<CChar>.allocate(capacity: Int(room))
      defer { output.deallocate() }
      while true {
        let first = next.wrappingAdd(64, ordering: .relaxed).oldValue
        guard first < frames.count else { break }
        for frame in frames[first..<min(first + 64, frames.count)] {
          precondition(LZ4_decompress_safe(frame, output, Int32(frame.count), room) > 0)
        }
      }
    }
  }
}
