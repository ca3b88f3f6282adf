import EpochStore
import Glibc

/// What a Linux kernel tells debuggers of itself: lines of text, `KEY=VALUE`, in a page of its own since Linux 4.12
/// (kernel/crash_core.c, before 6.9 and after it under other names). It says where the kernel lies: debuggers need that when it lies at random.
///
/// The page is the guest's: what stands there is bounded and taken for text, and believed by debuggers alone.
struct VMCoreInfo: Equatable {
  let text: [UInt8]

  private static let start = Array("OSRELEASE=".utf8)
  private static let pageBytes = EpochFormat.pageSize

  /// - Parameter page: 4096 bytes.
  /// - Returns: nil when this is not how the kernel writes that page.
  init?(page: UnsafeRawBufferPointer) {
    guard page.starts(with: Self.start) else { return nil }
    let text = Array(page.prefix(Self.pageBytes).prefix { $0 != 0 })
    guard text.last == UInt8(ascii: "\n"), text.allSatisfy({ (0x20...0x7e).contains($0) || $0 == UInt8(ascii: "\n") })
    else {
      return nil
    }
    self.text = text
    guard value("PAGESIZE") == "4096" else { return nil }
  }

  /// The value of a line.
  func value(_ key: String) -> Substring? {
    for line in String(decoding: text, as: UTF8.self).split(separator: "\n") {
      let parts = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      if parts.count == 2, parts[0] == key { return parts[1] }
    }
    return nil
  }

  /// Where the kernel's text begins: its virtual address, and the physical one.
  var kernelText: (virtual: UInt64, physical: UInt64)? {
    let map: UInt64 = 0xffff_ffff_8000_0000  // __START_KERNEL_map
    guard let virtual = value("SYMBOL(_stext)").flatMap({ UInt64($0, radix: 16) }), virtual >= map,
      let base = value("NUMBER(phys_base)").flatMap({ Int64($0) })
    else { return nil }
    return (virtual, virtual - map &+ UInt64(bitPattern: base))
  }

  var note: [UInt8] { ELF.note("VMCOREINFO", type: 0, text) }

  private struct Found: Error {}

  /// Looks at the beginning of every page, in the order of pfns, and takes the first that fits; nil when none does.
  static func find(in reader: EpochReader, threads: Int) throws -> VMCoreInfo? {
    var result: VMCoreInfo?
    do {
      try reader.forEachBatch(threads: threads) { batch in
        for start in stride(from: 0, to: batch.bytes.count, by: pageBytes) {
          result = VMCoreInfo(page: UnsafeRawBufferPointer(rebasing: batch.bytes[start..<(start + pageBytes)]))
          if result != nil { throw Found() }
        }
      }
    } catch is Found {}
    return result
  }
}
