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
    if Self.stretch(of: pfn) != last { (stretches, last) = (stretches + 1, Self.stretch(of: pfn)) }
    return Self.admits(stretches: stretches, of: pages)
  }

  static func stretch(of pfn: UInt64) -> UInt64 { pfn >> 9 }
  static func admits(stretches: Int, of pages: Int) -> Bool { stretches <= free + pages / pagesPerStretch }
}

/// The same of a file whose pages come in any order, and more than once.
struct ScatteredPages {
  private var stretches: Set<UInt64> = []
  private var last: UInt64?

  /// Takes a page.
  ///
  /// - Parameter pages: different ones, before it.
  mutating func admits(_ pfn: UInt64, of pages: Int) -> Bool {
    let stretch = PageSpread.stretch(of: pfn)
    if stretch != last {
      stretches.insert(stretch)
      last = stretch
    }
    return PageSpread.admits(stretches: stretches.count, of: pages)
  }
}
