import EpochStore
import Foundation
import MigrationStream
import Testing

@testable import Checkpoint

@Suite("Core file of a PVH guest")
struct KdumpCoreTests {
  static let text = """
    OSRELEASE=6.1.0-56-amd64
    PAGESIZE=4096
    SYMBOL(_stext)=ffffffff95000000
    KERNELOFFSET=14000000
    NUMBER(phys_base)=-352321536

    """
  // _stext's offset from __START_KERNEL_map plus phys_base: 0x15000000 - 0x15000000 + 0x0 …
  static let textPFN: UInt64 = (0x1500_0000 - 352_321_536) / 4096

  /// `hvm_save_descriptor` and body.
  static func record(_ type: UInt16, _ instance: UInt16, _ body: [UInt8]) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.append(little: type)
    bytes.append(little: instance)
    bytes.append(little: UInt32(body.count))
    return bytes + body
  }

  /// A `hvm_hw_cpu` whose every register says which it is.
  static func cpu(_ vcpu: UInt32) -> [UInt8] {
    var bytes = [UInt8](repeating: 0xee, count: 1024)
    func set(_ name: String, _ offset: Int, _ count: Int = 8) {
      let value = CoreHouse.value(CoreRegisters.names.firstIndex(of: name)!, vcpu: vcpu)
      withUnsafeBytes(of: value.littleEndian) {
        for (index, byte) in $0.prefix(count).enumerated() { bytes[offset + index] = byte }
      }
    }
    for (index, name) in [
      "rax", "rbx", "rcx", "rdx", "rbp", "rsi", "rdi", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
      "rip", "eflags",
    ].enumerated() {
      set(name, 512 + index * 8)
    }
    for (index, name) in ["cs", "ds", "es", "fs", "gs", "ss"].enumerated() { set(name, 736 + index * 4, 4) }
    set("fs_base", 832)
    set("gs_base", 840)
    return bytes
  }

  static func expected(_ vcpu: UInt32) -> [UInt64] {
    CoreRegisters.names.enumerated().map { index, name in
      let value = CoreHouse.value(index, vcpu: vcpu)
      return name == "orig_rax"
        ? .max : ["cs", "ss", "ds", "es", "fs", "gs"].contains(name) ? value & 0xffff_ffff : value
    }
  }

  static let context =
    record(1, 0, [1, 2, 3]) + record(2, 0, cpu(0)) + record(3, 0, [4]) + record(2, 1, cpu(1)) + record(0, 0, [])
  static let pages: [UInt64: [UInt8]] = [
    0: CoreHouse.page(1), 1: CoreHouse.page(2), 2: CoreHouse.page(0), 3: CoreHouse.page(4), 100: CoreHouse.page(text),
    0x10_0000: CoreHouse.page(5),
  ]

  private func house(_ pages: [UInt64: [UInt8]] = pages) throws -> CoreHouse {
    try CoreHouse(.pvh, [.hvmContext(Self.context)], pages: pages)
  }

  @Test("Every page is at its physical address, registers and VMCOREINFO in the notes") func whole() throws {
    let house = try house()
    #expect(try house.export() == nil)
    let core = try CoreFile(house.contents())
    for (pfn, page) in Self.pages { #expect(core.page(physical: pfn * 4096) == page) }
    #expect(core.page(physical: 4 * 4096) == nil)
    #expect(core.threads.map { $0.id } == [1, 2])
    #expect(core.threads.map { $0.registers } == [Self.expected(0), Self.expected(1)])
    let info = try #require(core.notes.last)
    #expect(info.name == "VMCOREINFO" && info.type == 0 && info.content == Array(Self.text.utf8))
  }

  @Test("The kernel's text is at its virtual address, too") func kernel() throws {
    let house = try house()
    try house.export()
    let core = try CoreFile(house.contents())
    #expect(core.page(virtual: 0xffff_ffff_9500_0000) == Self.pages[Self.textPFN])
    #expect(core.page(virtual: 0xffff_ffff_9500_1000) == Self.pages[Self.textPFN + 1])
  }

  @Test("Pages of zeros are holes in a file, and zeros in a pipe") func sparse() throws {
    var pages = Self.pages
    for pfn in 0x2000..<0x2400 as Range<UInt64> { pages[pfn] = CoreHouse.page(0) }
    // The last page is zero: the file must still have its length.
    pages[0x20_0000] = CoreHouse.page(0)
    let house = try house(pages)
    try house.export()
    var status = stat()
    #expect(stat(house.file, &status) == 0 && status.st_size > 4 << 20 && status.st_blocks * 512 < 1 << 20)
    #expect(try house.piped() == house.contents())
    let core = try CoreFile(house.contents())
    #expect(core.page(physical: 0x20_0000 * 4096) == CoreHouse.page(0))
  }

  @Test("What follows other bytes, or is appended, has no holes") func appended() throws {
    let house = try house()
    try house.export()
    let core = try house.contents()
    let descriptor = open(house.file, O_WRONLY | O_APPEND)
    _ = try house.engine.exportCore("web", epoch: 1, to: descriptor)
    close(descriptor)
    #expect(try house.contents() == core + core)
  }

  @Test("Without VMCOREINFO there is still a core, and a word about it") func noInfo() throws {
    var pages = Self.pages
    pages[100] = CoreHouse.page(Self.text + "\u{7}")
    let house = try house(pages)
    #expect(try house.export()?.contains("VMCOREINFO") == true)
    let core = try CoreFile(house.contents())
    #expect(core.threads.count == 2 && core.notes.count == 2)
    for (pfn, page) in pages { #expect(core.page(physical: pfn * 4096) == page) }
  }

  @Test(
    "What the guest says of its kernel leads nowhere but to its memory",
    arguments: [
      "SYMBOL(_stext)=ffffffffffffffff\nNUMBER(phys_base)=0", "SYMBOL(_stext)=0\nNUMBER(phys_base)=0",
      "SYMBOL(_stext)=ffffffff81000123\nNUMBER(phys_base)=9223372036854775807",
      "SYMBOL(_stext)=ffffffff80000000\nNUMBER(phys_base)=-9223372036854775808",
      "SYMBOL(_stext)=ffffffff80001000\nNUMBER(phys_base)=0x",
    ])
  func hostile(lines: String) throws {
    var pages = Self.pages
    pages[100] = CoreHouse.page("OSRELEASE=1\nPAGESIZE=4096\n\(lines)\n")
    let house = try house(pages)
    try house.export()
    let core = try CoreFile(house.contents())
    for load in core.loads {
      #expect(
        load.offset + load.bytes <= UInt64(core.bytes.count)
          && load.virtual.addingReportingOverflow(load.bytes - 1).overflow == false)
    }
    for (pfn, page) in pages { #expect(core.page(physical: pfn * 4096) == page) }
  }

  @Test("A page that is not the kernel's own is not taken for it") func decoys() {
    func info(_ text: String) -> VMCoreInfo? { CoreHouse.page(text).withUnsafeBytes { VMCoreInfo(page: $0) } }
    #expect(info(Self.text)?.value("KERNELOFFSET") == "14000000")
    #expect(info("see OSRELEASE=\n" + Self.text) == nil)
    #expect(info("OSRELEASE=6\n") == nil)
    #expect(info("OSRELEASE=6\nPAGESIZE=65536\n") == nil)
    #expect(info(String(Self.text.dropLast())) == nil)
    #expect(info("OSRELEASE=6\nPAGESIZE=4096\n\u{1b}[2J\n") == nil)
  }

  @Test(
    "A state without registers makes no core",
    arguments: [
      [], KdumpCoreTests.record(2, 0, [1, 2]), KdumpCoreTests.record(7, 0, [1]), [2, 0, 0, 0, 255, 255, 255, 255],
    ])
  func noRegisters(context: [UInt8]) throws {
    let house = try CoreHouse(.pvh, context.isEmpty ? [] : [.hvmContext(context)], pages: Self.pages)
    #expect(throws: CoreError.noRegisters(guest: "web", epoch: 1)) { try house.export() }
  }

  @Test("Ragged memory has a bounded number of ranges, and all its pages") func ragged() {
    var runs = PageRuns()
    for number in 0..<UInt64(5000) { runs.append(number * 7..<number * 7 + 1 + number % 5) }
    #expect(runs.runs.count <= PageRuns.most)
    for number in 0..<UInt64(5000) {
      for pfn in number * 7..<number * 7 + 1 + number % 5 { #expect(runs.runs.contains { $0.contains(pfn) }) }
    }
    #expect(zip(runs.runs, runs.runs.dropFirst()).allSatisfy { $0.upperBound < $1.lowerBound })
  }

  @Test("gdb and readelf, where they are, show the same") func tools() throws {
    let house = try house()
    try house.export()
    if let text = try house.tool([
      "gdb", "-batch", "-nx", "-ex", "info threads", "-ex", "info registers", "-ex", "x/1xb 0x3000", "--core",
    ]) {
      let rip = String(CoreHouse.value(CoreRegisters.names.firstIndex(of: "rip")!, vcpu: 0), radix: 16)
      #expect(text.contains("LWP 2") && text.contains("0x\(rip)"), Comment(rawValue: text))
      #expect(text.contains("0x3000:\t0x04"), Comment(rawValue: text))
    }
    if let text = try house.tool(["readelf", "-n", "-l", "-W"]) {
      #expect(
        text.contains("NT_PRSTATUS") && text.contains("VMCOREINFO") && !text.lowercased().contains("warning"),
        Comment(rawValue: text))
    }
  }
}
