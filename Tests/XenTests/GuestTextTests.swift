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
