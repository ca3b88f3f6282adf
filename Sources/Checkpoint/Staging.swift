import EpochStore
import Glibc

/// RAM for a guest's pages during the pause: locked and faulted in before, so that the copy never waits.
public final class Staging {
  /// Pages that are locked and ready.
  public let preparedPages: Int
  /// Pages that fit; those beyond `preparedPages` are faulted in as they come.
  public let capacity: Int
  let pages: UnsafeMutableRawPointer
  let pfns: UnsafeMutableBufferPointer<UInt64>
  let types: UnsafeMutableBufferPointer<UInt8>

  /// - Parameters:
  ///   - pages: the guest's pages now.
  ///   - most: as many as it may ever have; only address space is taken for the difference.
  /// - Throws: ``CheckpointError/noMemory(needed:available:)``.
  public init(pages prepared: Int, most: Int) throws {
    let needed = UInt64(prepared * EpochFormat.pageSize)
    if let available = Staging.availableBytes(), available < needed + Staging.reserve {
      throw CheckpointError.noMemory(needed: needed + Staging.reserve, available: available)
    }
    preparedPages = prepared
    capacity = max(prepared, most)
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
    let mapped = mmap(nil, capacity * EpochFormat.pageSize, PROT_READ | PROT_WRITE, flags, -1, 0)
    guard let mapped, mapped != MAP_FAILED else {
      throw CheckpointError.noMemory(needed: needed, available: Staging.availableBytes() ?? 0)
    }
    pages = mapped
    pfns = .allocate(capacity: capacity)
    types = .allocate(capacity: capacity)
    // mlock faults every page in; without it the copy would take one page fault per page, in the pause.
    guard prepared == 0 || mlock(pages, prepared * EpochFormat.pageSize) == 0 else {
      throw CheckpointError.noMemory(needed: needed, available: Staging.availableBytes() ?? 0)
    }
    pfns.initialize(repeating: 0)
    types.initialize(repeating: 0)
  }

  deinit {
    munmap(pages, capacity * EpochFormat.pageSize)
    pfns.deallocate()
    types.deallocate()
  }

  /// Left to dom0 when a guest is staged, in bytes.
  static let reserve: UInt64 = 64 << 20

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

/// A guest's memory as it stood in one pause.
public struct StagedMemory {
  let staging: Staging
  /// Pages that carry data; they stand first, in ascending order of their frame numbers.
  private(set) var count: Int

  /// - Parameter count: pages that the guest wrote, some of which may carry no data.
  init(_ staging: Staging, count: Int) {
    self.staging = staging
    self.count = count
  }

  var pfns: UnsafeBufferPointer<UInt64> { UnsafeBufferPointer(rebasing: staging.pfns[..<count]) }

  /// The staged page of a frame number, or nil.
  public func page(_ pfn: UInt64) -> UnsafeRawPointer? {
    let pfns = pfns
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      if pfns[middle] < pfn { low = middle + 1 } else { high = middle }
    }
    return low < count && pfns[low] == pfn ? UnsafeRawPointer(staging.pages + low * EpochFormat.pageSize) : nil
  }

  /// Closes the gaps of pages whose type carries no data. After the pause: it moves memory.
  mutating func dropEmpty(_ carriesData: (UInt8) -> Bool) {
    var kept = 0
    for index in 0..<count where carriesData(staging.types[index]) {
      if kept != index {
        memcpy(
          staging.pages + kept * EpochFormat.pageSize, staging.pages + index * EpochFormat.pageSize,
          EpochFormat.pageSize)
        staging.pfns[kept] = staging.pfns[index]
        staging.types[kept] = staging.types[index]
      }
      kept += 1
    }
    count = kept
  }

  var stored: StagedPages {
    StagedPages(
      pfns: pfns, types: UnsafeBufferPointer(rebasing: staging.types[..<count]),
      pages: UnsafeRawBufferPointer(start: staging.pages, count: count * EpochFormat.pageSize))
  }
}
