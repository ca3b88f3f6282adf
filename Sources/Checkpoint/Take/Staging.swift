import EpochStore
import Glibc
import Synchronization

/// RAM for copied pages: locked and faulted in before the pause, so that a copy never waits.
///
/// It is cut into blocks. A thread fills one block at a time, in ascending order of frame numbers; blocks are written in the
/// order in which they were begun, so that of two copies of a page the younger counts.
final class Staging: @unchecked Sendable {
  final class Block: @unchecked Sendable {
    let pages: UnsafeMutableRawPointer
    let pfns: UnsafeMutableBufferPointer<UInt64>
    let types: UnsafeMutableBufferPointer<UInt8>
    fileprivate(set) var count = 0
    /// The name of the round that fills it.
    fileprivate(set) var round = ""

    fileprivate init(_ pages: UnsafeMutableRawPointer, capacity: Int) {
      self.pages = pages
      pfns = .allocate(capacity: capacity)
      types = .allocate(capacity: capacity)
      // Written once, so that the pause takes no page fault here either.
      pfns.initialize(repeating: 0)
      types.initialize(repeating: 0)
    }

    deinit {
      pfns.deallocate()
      types.deallocate()
    }

    var isFull: Bool { count == pfns.count }
    var next: UnsafeMutableRawPointer { pages + count * EpochFormat.pageSize }

    func received(_ pfn: UInt64, _ type: UInt8) {
      pfns[count] = pfn
      types[count] = type
      count += 1
    }

    var stored: StagedPages {
      StagedPages(
        pfns: UnsafeBufferPointer(rebasing: pfns[..<count]), types: UnsafeBufferPointer(rebasing: types[..<count]),
        pages: UnsafeRawBufferPointer(start: pages, count: count * EpochFormat.pageSize))
    }
  }

  /// Pages that fit.
  let capacity: Int
  /// The name of the round that copies, set before it does.
  var round = ""
  private let base: UnsafeMutableRawPointer
  private let blocks: [Block]
  private let claimed = Mutex(0)

  /// - Parameters:
  ///   - pages: as many as shall fit, at least one.
  ///   - threads: how many fill it side by side.
  /// - Throws: ``CheckpointError/noMemory(needed:available:)``.
  init(pages: Int, threads: Int) throws {
    let size = max(1, min(Staging.blockPages, pages / (2 * threads)))
    let count = max(threads, pages / size)
    capacity = count * size
    let bytes = capacity * EpochFormat.pageSize
    if let available = Staging.availableBytes(), available < UInt64(bytes) + Staging.reserve {
      throw CheckpointError.noMemory(needed: UInt64(bytes) + Staging.reserve, available: available)
    }
    let mapped = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let mapped, mapped != MAP_FAILED else {
      throw CheckpointError.noMemory(needed: UInt64(bytes), available: Staging.availableBytes() ?? 0)
    }
    // mlock faults every page in; without it the copy would take one page fault per page, in the pause.
    guard mlock(mapped, bytes) == 0 else {
      munmap(mapped, bytes)
      throw CheckpointError.noMemory(needed: UInt64(bytes), available: Staging.availableBytes() ?? 0)
    }
    base = mapped
    blocks = (0..<count).map { Block(mapped + $0 * size * EpochFormat.pageSize, capacity: size) }
  }

  deinit { munmap(base, capacity * EpochFormat.pageSize) }

  /// Large enough that several threads compress one, small enough that no thread's last one wastes much.
  private static let blockPages = 4096
  /// Left to dom0, in bytes.
  static let reserve: UInt64 = 64 << 20

  /// An empty block, or nil when all are in use. Any thread.
  func claim() -> Block? {
    claimed.withLock { claimed in
      guard claimed < blocks.count else { return nil }
      claimed += 1
      blocks[claimed - 1].round = round
      return blocks[claimed - 1]
    }
  }

  /// Blocks with pages, in the order in which they were begun.
  var filled: [Block] { claimed.withLock { blocks[..<$0].filter { $0.count > 0 } } }

  /// Forgets all pages.
  func clear() {
    claimed.withLock { claimed in
      for block in blocks[..<claimed] { block.count = 0 }
      claimed = 0
    }
  }

  /// What the kernel says it can give without swapping (proc(5), MemAvailable).
  private static func availableBytes() -> UInt64? {
    guard let file = fopen("/proc/meminfo", "r") else { return nil }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 256)
    while fgets(&line, Int32(line.count), file) != nil {
      let words = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self).split {
        $0 == " " || $0 == "\n"
      }
      if words.first == "MemAvailable:", words.count > 1, let kib = UInt64(words[1]) { return kib << 10 }
    }
    return nil
  }
}
