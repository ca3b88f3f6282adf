/// How far the pages of a file lie apart. Memory is taken for whole stretches of 2 MiB, some 9 KiB for each, so a file of a few megabytes
/// with a page in every one could cost all of this host's; a guest's memory is dense, also after its balloon has made holes.
struct PageSpread {
  private var pages: Int
  private var stretches = 0
  private var last: UInt64?

  /// Stretches that any file may touch: 144 MiB of memory here.
  private static let free = 16_384
  /// Pages that pay for each further one.
  private static let pagesPerStretch = 8

  /// - Parameter pages: of the epoch that the file's builds on: what lies apart in a file of changes is dense with them.
  init(over pages: Int = 0) { self.pages = pages }

  /// Counts a page; pages come in ascending order.
  mutating func admits(_ pfn: UInt64) -> Bool {
    pages += 1
    if pfn >> 9 != last { (stretches, last) = (stretches + 1, pfn >> 9) }
    return stretches <= Self.free + pages / Self.pagesPerStretch
  }
}
