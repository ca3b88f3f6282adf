import Testing

@testable import Xen

@Suite("The hypervisor's release")
struct ReleaseTests {
  @Test func theOneBuiltForIsAccepted() throws { try Hypervisor.require(version: 4 << 16 | 17) }

  @Test("Any other is refused, naming both", arguments: [(4, 16), (4, 18), (5, 17)] as [(Int32, Int32)])
  func anotherIsRefused(major: Int32, minor: Int32) {
    #expect { try Hypervisor.require(version: major << 16 | minor) } throws: {
      "\($0)".contains("Xen 4.17") && "\($0)".contains("Xen \(major).\(minor)")
    }
  }
}
