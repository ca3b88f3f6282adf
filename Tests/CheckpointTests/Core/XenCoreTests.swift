import EpochStore
import Foundation
import MigrationStream
import Testing

@testable import Checkpoint

@Suite("Core file of a PV guest")
struct XenCoreTests {
  /// A `vcpu_guest_context_x86_64` whose every register says which it is.
  static func context(_ vcpu: UInt32, inKernel: Bool) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 5168)
    func set(_ offset: Int, _ value: UInt64, _ count: Int = 8) {
      withUnsafeBytes(of: value.littleEndian) {
        for (index, byte) in $0.prefix(count).enumerated() { bytes[offset + index] = byte }
      }
    }
    func set(_ name: String, _ offset: Int, _ count: Int = 8) {
      set(offset, CoreHouse.value(CoreRegisters.names.firstIndex(of: name)!, vcpu: vcpu), count)
    }
    set(512, inKernel ? 4 : 0)
    for index in 0..<15 { set(CoreRegisters.names[index], 520 + index * 8) }
    set("rip", 648)
    set("cs", 656, 2)
    // What Xen keeps beside a selector must not show.
    set(658, 0xffff, 6)
    set("eflags", 664)
    set("rsp", 672)
    for (name, offset) in [("ss", 680), ("es", 688), ("ds", 696), ("fs", 704), ("gs", 712)] { set(name, offset, 2) }
    set(5008, 0x77 << 12)
    set("fs_base", 5144)
    set("gs_base", inKernel ? 5152 : 5160)
    return bytes
  }

  static func expected(_ vcpu: UInt32) -> [UInt64] {
    CoreRegisters.names.enumerated().map { index, name in
      let value = CoreHouse.value(index, vcpu: vcpu)
      return name == "orig_rax" ? .max : ["cs", "ss", "ds", "es", "fs", "gs"].contains(name) ? value & 0xffff : value
    }
  }

  static let pages: [UInt64: [UInt8]] = [
    0: CoreHouse.page(1), 1: CoreHouse.page(0), 2: CoreHouse.page(3), 40: CoreHouse.page(4), 41: CoreHouse.page(0),
  ]

  private func house() throws -> CoreHouse {
    try CoreHouse(
      .pv,
      [
        .pvInfo(width: 8, levels: 4), .sharedInfo(CoreHouse.page(9)),
        .pvVCPU(.basic, id: 0, blob: Self.context(0, inKernel: true)),
        .pvVCPU(.basic, id: 1, blob: Self.context(1, inKernel: false)),
      ], pages: Self.pages)
  }

  @Test("Each frame has its place and is its own machine frame") func whole() throws {
    let house = try house()
    #expect(try house.export() == nil)
    let core = try CoreFile(house.contents())
    let (frames, pages) = (try #require(core.sections[".xen_p2m"]), try #require(core.sections[".xen_pages"]))
    #expect(frames.count == 42 * 16 && pages.count == 42 * 4096 && pages.upperBound == core.bytes.count)
    for pfn in 0..<42 {
      #expect(core.word(frames.lowerBound + pfn * 16) == UInt64(pfn))
      #expect(core.word(frames.lowerBound + pfn * 16 + 8) == (Self.pages[UInt64(pfn)] == nil ? .max : UInt64(pfn)))
      let page = Array(core.bytes[(pages.lowerBound + pfn * 4096)..<(pages.lowerBound + (pfn + 1) * 4096)])
      #expect(page == Self.pages[UInt64(pfn)] ?? CoreHouse.page(0))
    }
    // crash would take a file with a range of memory for kdump's.
    #expect(core.loads.isEmpty)
  }

  @Test("vCPUs are there as Xen has them, and as debuggers want them") func registers() throws {
    let house = try house()
    try house.export()
    let core = try CoreFile(house.contents())
    let states = try #require(core.sections[".xen_prstatus"])
    #expect(Array(core.bytes[states]) == Self.context(0, inKernel: true) + Self.context(1, inKernel: false))
    #expect(core.sections[".xen_shared_info"].map { Array(core.bytes[$0]) } == CoreHouse.page(9))
    #expect(core.threads.map { $0.id } == [1, 2])
    #expect(core.threads.map { $0.registers } == [Self.expected(0), Self.expected(1)])
    let notes = CoreFile.notes(Array(core.bytes[try #require(core.sections[".note.Xen"])]))
    #expect(notes.map { $0.name } == Array(repeating: "Xen", count: 4))
    #expect(notes.map { $0.type } == [0x200_0000, 0x200_0001, 0x200_0002, 0x200_0003])
    #expect((0..<4).map { notes[1].content.little(at: $0 * 8) ?? 0 } == [0xF00F_EBED, 2, 42, 4096] as [UInt64])
    #expect(
      notes[2].content.count == 1280 && notes[2].content.little(at: 0) == 4 as UInt64
        && notes[2].content.little(at: 8) == 17 as UInt64)
  }

  @Test("A pipe gets the same bytes, a file has holes") func sparse() throws {
    let house = try house()
    try house.export()
    #expect(try house.piped() == house.contents())
    var status = stat()
    #expect(stat(house.file, &status) == 0 && status.st_blocks * 512 < status.st_size)
  }

  @Test("gdb, where it is, shows the registers") func gdb() throws {
    let house = try house()
    try house.export()
    guard let text = try house.tool(["gdb", "-batch", "-nx", "-ex", "info registers", "--core"]) else { return }
    let rsp = String(CoreHouse.value(CoreRegisters.names.firstIndex(of: "rsp")!, vcpu: 0), radix: 16)
    #expect(text.contains("rsp            0x\(rsp)"), Comment(rawValue: text))
  }
}
