import Testing

@testable import Xen

/// Text that a guest or a script wrote into xenstore.
@Suite("Text from xenstore")
struct GuestTextTests {
  @Test(
    "A suspend port is decimal digits and nothing else",
    arguments: [
      ("7", UInt32?.some(7)), ("4095", 4095), ("", nil), ("0", nil), ("-1", nil), ("+3", nil), (" 3", nil),
      ("3\n", nil),
      ("0x10", nil), ("99999999999", nil), ("4294967295", nil), ("七", nil),
    ])
  func port(text: String, port: UInt32?) { #expect(Suspension.port(text) == port) }

  @Test(
    "physical-device is hexadecimal major and minor",
    arguments: [
      ("fd:3", DeviceNumber?.some(DeviceNumber(major: 253, minor: 3))), ("8:10", DeviceNumber(major: 8, minor: 16)),
      ("", nil), ("fd", nil), ("fd:", nil), ("1:2:3", nil), ("x:1", nil),
    ])
  func device(text: String, number: DeviceNumber?) { #expect(GuestDevices.number(text) == number) }

  @Test(
    "params is a path, behind a format where a process serves it",
    arguments: [
      ("/dev/sda3", "/dev/sda3"), ("aio:/srv/web.img", "/srv/web.img"), ("qcow2:/srv/a:b", "/srv/a:b"), ("", ""),
      ("/srv/a:b", "/srv/a:b"), ("aio:", ""),
    ])
  func path(parameters: String, path: String) { #expect(GuestDevices.path(in: parameters) == path) }
}

@Suite("Text from a guest, in messages of ours")
struct PrintableTests {
  @Test(
    "neither ends the line nor steers the terminal",
    arguments: [
      ("plain, ünïcode 字", "plain, ünïcode 字"), ("a\nckpt: all is well", "a\\u{a}ckpt: all is well"),
      ("\u{1b}[2J\u{1b}]0;x\u{7}", "\\u{1b}[2J\\u{1b}]0;x\\u{7}"),
      ("\r\u{9b}K\u{7f}\u{0}", "\\u{d}\\u{9b}K\\u{7f}\\u{0}"),
      ("a\u{202e}b\u{2028}c", "a\\u{202e}b\\u{2028}c"),
    ])
  func line(text: String, shown: String) { #expect(Printable.line(text) == shown) }

  @Test("is quoted in ASCII and cut, however few characters it calls itself")
  func quoted() {
    #expect(Printable.quoted("suspend") == "'suspend'")
    #expect(Printable.quoted("x\u{1b}é") == "'x\\u{1b}\\u{e9}'")
    let zalgo = Printable.quoted("a" + String(repeating: "\u{301}", count: 2000))
    #expect(zalgo.hasPrefix("'a\\u{301}") && zalgo.hasSuffix("…'") && zalgo.utf8.count < 300)
  }

  @Test("A request in control/shutdown is told on one line")
  func request() throws {
    let text = try #require(Suspension.obstacle(.running, pending: "\u{1b}[31mno\nckpt: done"))
    #expect(text.contains(#"'\u{1b}[31mno\u{a}ckpt: done'"#))
  }

  @Test(
    "What became of a guest that ended is told as it is",
    arguments: [
      (Domain.State.crashed, "crashed"), (.shutdown(reason: 0), "powered off"), (.shutdown(reason: 1), "rebooted"),
      (.shutdown(reason: 77), "reason 77"), (.dying, "was destroyed"),
    ])
  func ended(state: Domain.State, words: String) {
    let text = "\(XenError.ended(domain: 7, state))"
    #expect(text.contains(words) && !text.contains("runs on") && !text.contains("left running"))
  }
}

@Suite("A node that its guest never leaves alone")
struct RestlessTests {
  @Test("is given up, with its name")
  func forever() {
    var tries = 0
    #expect(throws: XenError.restless(path: "control/shutdown")) {
      try XenStore.untilUndisturbed("control/shutdown") { () throws(XenError) -> Int? in
        tries += 1
        return nil
      }
    }
    #expect(tries > 10)
  }

  @Test("is changed when it rests for a moment, also to nothing")
  func once() throws {
    var tries = 0
    let result = try XenStore.untilUndisturbed("x") { () throws(XenError) -> String?? in
      tries += 1
      return tries == 3 ? .some(nil) : nil
    }
    #expect(result == nil && tries == 3)
  }
}

@Suite("Where a PV guest says its p2m list is")
struct AnchorTests {
  private static let good: UInt64 = 0xffff_c900_0000_0000

  private func anchor(count: UInt64, cr3: UInt64, address: UInt64) throws -> LinearP2M.Anchor {
    let page = UnsafeMutableRawPointer.allocate(byteCount: pageSize, alignment: 8)
    defer { page.deallocate() }
    page.initializeMemory(as: UInt8.self, repeating: 0, count: pageSize)
    // public/arch-x86/xen.h: arch at 3088, max_pfn first, p2m_cr3 at +24, p2m_vaddr at +32.
    page.storeBytes(of: count, toByteOffset: 3088, as: UInt64.self)
    page.storeBytes(of: cr3, toByteOffset: 3112, as: UInt64.self)
    page.storeBytes(of: address, toByteOffset: 3120, as: UInt64.self)
    return try LinearP2M.anchor(page, FrameSpace(domain: 7, mostKiB: 4096))
  }

  @Test func wellFormed() throws {
    let anchor = try anchor(count: 1024, cr3: 0x1234_5000, address: Self.good)
    #expect(anchor.count == 1024 && anchor.root == 0x12345 && anchor.address == Self.good)
  }

  @Test("The legacy list is refused with the kernel that helps")
  func legacy() {
    #expect { try anchor(count: 1024, cr3: 0, address: 0) } throws: { "\($0)".contains("Linux 3.19") }
  }

  @Test(
    "Sizes and addresses that cannot be are refused",
    arguments: [
      (0, good), (UInt64.max, good), (1 << 40, good), (1024, good + 8), (1024, 0xffff_8000_0000_0000),
      (1024, 0x0000_9000_0000_0000), (1024, 0xffff_ffff_ffff_f000),
    ] as [(UInt64, UInt64)])
  func implausible(count: UInt64, address: UInt64) {
    #expect(throws: XenError.self) { try anchor(count: count, cr3: 0x1000, address: address) }
  }
}
