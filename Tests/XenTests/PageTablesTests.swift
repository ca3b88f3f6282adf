import Testing

@testable import Xen

/// A table of 512 entries that the test fills, and what the guest's frames are.
private struct Table: ~Copyable {
  let page = UnsafeMutableRawPointer.allocate(byteCount: pageSize, alignment: 8)
  init() { page.initializeMemory(as: UInt8.self, repeating: 0, count: pageSize) }
  deinit { page.deallocate() }
  subscript(slot: Int) -> UInt64 {
    get { page.load(fromByteOffset: slot * 8, as: UInt64.self) }
    nonmutating set { page.storeBytes(of: newValue, toByteOffset: slot * 8, as: UInt64.self) }
  }
}

/// Machine frames 1000 to 1999 are the guest's 0 to 999.
private func pfn(_ frame: UInt64) -> UInt64? { (1000..<2000).contains(frame) ? frame - 1000 : nil }

@Suite("Page tables of a PV guest")
struct PageTablesTests {
  @Test("Frames become the guest's own, flags stay", arguments: 1...4)
  func framesAndFlags(level: Int) throws {
    let table = Table()
    table[0] = 1005 << 12 | 0x67
    table[511] = 1 << 63 | 1999 << 12 | 0x25
    try PageTables.normalise(table.page, level: level, pfn: pfn)
    #expect(table[0] == 5 << 12 | 0x67)
    #expect(table[511] == UInt64(1) << 63 | 999 << 12 | 0x25)
  }

  @Test("An entry that is not present is kept as it is: it may be a swap entry")
  func absent() throws {
    let table = Table()
    table[7] = 0xdead_beef_0000
    try PageTables.normalise(table.page, level: 1, pfn: pfn)
    #expect(table[7] == 0xdead_beef_0000)
  }

  @Test("Xen's own slots of the top level are emptied, of other levels are not")
  func xenSlots() throws {
    let table = Table()
    for slot in [255, 256, 271, 272] { table[slot] = 1001 << 12 | 1 }
    table[260] = 5 << 12 | 1  // a frame of Xen's: would be refused elsewhere
    try PageTables.normalise(table.page, level: 4, pfn: pfn)
    #expect([255, 256, 260, 271, 272].map { table[$0] } == [1 << 12 | 1, 0, 0, 0, 1 << 12 | 1])
  }

  @Test("A frame that is not the guest's is refused, never skipped")
  func foreign() {
    let table = Table()
    table[3] = 42 << 12 | 1
    #expect(throws: PageTables.Fault.foreignFrame(slot: 3, 42)) {
      try PageTables.normalise(table.page, level: 1, pfn: pfn)
    }
  }

  @Test("A superpage is refused; bit 7 of level 1 is only a cache attribute")
  func superpage() throws {
    let table = Table()
    table[9] = 1001 << 12 | 1 << 7 | 1
    #expect(throws: PageTables.Fault.superpage(slot: 9)) {
      try PageTables.normalise(table.page, level: 2, pfn: pfn)
    }
    try PageTables.normalise(table.page, level: 1, pfn: pfn)
    #expect(table[9] == 1 << 12 | 1 << 7 | 1)
  }
}

@Suite("Page types")
struct PageTypeTests {
  @Test(
    "Which types have content and a level",
    arguments: [
      (UInt8(0x0), true, Int?.none), (0x1, true, 1), (0x4, true, 4), (0x9, true, 1), (0xC, true, 4),
      (0x8, true, nil), (0xD, false, nil), (0xE, false, nil), (0xF, false, nil),
    ])
  func content(type: UInt8, data: Bool, level: Int?) {
    #expect(PageType.carriesData(type) == data)
    #expect(PageType.tableLevel(type) == level)
  }
}
